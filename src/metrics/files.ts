// --metrics-dir: a file for every metric, also for those of the application, with
// its value and a line end. A file is replaced whole: readers see the old value
// or the new one. What cannot be written, on a full disk, is told once, and once more
// when it could be; it keeps no other file from being written, and each round tries again.
//
// --metrics-dir-restore: what a counter held when the last instance ended is
// added to it, once, before its file is written for the first time. Gauges say
// how things are, sums and other collected values are found anew: those are not
// restored. A metric that is defined while the application runs is restored when
// it is first seen here.

import { accessSync, constants, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UwsgiError } from '../errors.ts'
import { log } from '../log.ts'
import { native } from '../native.ts'
import { source, types } from './kinds.ts'
import type { MetricsPlan } from './plan.ts'

const mode = 0o640
const add = 0

export class MetricFiles {
  private readonly dir: string
  private readonly restores: boolean
  /** Collected metrics that count by themselves. */
  private readonly accumulators: ReadonlySet<number>
  private readonly paths: string[] = []
  private readonly written: (bigint | undefined)[] = []
  private isWriting = false
  private complaint = ''

  constructor(dir: string, { restores, collected }: MetricsPlan) {
    this.dir = dir
    this.restores = restores
    this.accumulators = new Set(
      collected.filter(({ collector }) => collector === 'accumulator').map(({ index }) => index),
    )
    try {
      if (!statSync(dir).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' })
      accessSync(dir, constants.W_OK)
    } catch (error) {
      throw new UwsgiError('METRICS_DIR', dir, (error as NodeJS.ErrnoException).code)
    }
    this.meetNew()
  }

  /** Writes what has changed, off the event loop. */
  async write(): Promise<void> {
    if (this.isWriting) return
    this.isWriting = true
    const round = new Round()
    for (const [index, value] of this.changed()) {
      const path = this.paths[index]!
      try {
        await writeFile(beside(path), `${value}\n`, { mode })
        await rename(beside(path), path)
        this.written[index] = value
        round.hasWritten = true
      } catch (error) {
        round.failure ??= error
      }
    }
    this.tell(round)
    this.isWriting = false
  }

  /** At the end, when nothing can be waited for. */
  writeNow(): void {
    const round = new Round()
    for (const [index, value] of this.changed()) {
      const path = this.paths[index]!
      try {
        writeFileSync(beside(path), `${value}\n`, { mode })
        renameSync(beside(path), path)
      } catch (error) {
        round.failure ??= error
      }
    }
    if (round.failure) this.tell(round)
  }

  private changed(): [index: number, value: bigint][] {
    this.meetNew()
    const changed: [number, bigint][] = []
    for (const [index, value] of native.metricValues().entries())
      if (index < this.paths.length && value !== this.written[index]) changed.push([index, value])
    return changed
  }

  private meetNew(): void {
    for (const [name, , type, from, position, , initial] of native.metricSpecs(this.paths.length)) {
      const index = this.paths.length
      this.paths.push(join(this.dir, fileName(name)))
      if (this.restores && types[type] === 'counter') this.restore(index, from, position, initial)
    }
  }

  private restore(index: number, from: number, position: number, initial: bigint): void {
    const value = this.read(index)
    if (value === null) return
    if (from === source.counted) native.changeMetric(index, add, BigInt.asIntN(64, value - initial))
    // A bucket's file holds those before it, too.
    else if (from === source.bucket)
      native.changeMetric(index, add, BigInt.asIntN(64, value - (position === 0 ? 0n : (this.read(index - 1) ?? 0n))))
    else if (from === source.figure || this.accumulators.has(index)) native.storeMetric(index, value)
  }

  /** What the file holds; null: there is none, or no number in it. uWSGI's files end in NULs. */
  private read(index: number): bigint | null {
    try {
      const [number] = /^-?\d+/.exec(readFileSync(this.paths[index]!, 'latin1')) ?? []
      return number === undefined ? null : BigInt.asIntN(64, BigInt(number))
    } catch {
      return null
    }
  }

  private tell({ failure, hasWritten }: Round): void {
    if (failure !== undefined) {
      const { code = 'unknown' } = failure as NodeJS.ErrnoException
      const complaint = `metrics are not written to ${this.dir}: ${code}`
      if (complaint !== this.complaint) log(complaint)
      this.complaint = complaint
    } else if (hasWritten && this.complaint !== '') {
      log(`metrics are written to ${this.dir} again`)
      this.complaint = ''
      // It may be another directory, with none of the files of before.
      this.written.length = 0
    }
  }
}

/** What became of the files of one round. */
class Round {
  failure: unknown
  hasWritten = false
}

/** A label's value may have any characters, and a name may be all dots. */
function fileName(name: string): string {
  return name.replace(/[/%]/g, (one) => (one === '/' ? '%2F' : '%25')).replace(/^\./, '%2E')
}

function beside(path: string): string {
  return `${path}~`
}
