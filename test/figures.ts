// What is counted, read as anybody may read it: by a process that attaches to the
// master's memory and is no worker. It works whatever state the workers are in.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import type { WorkerFigures } from '../src/native.ts'
import { type Master, until } from './harness.ts'

export interface Figures extends WorkerFigures {
  cores: { inRequest: number; readErrors: number; writeErrors: number; head: string | null }[]
}

/** Of all workers together. */
export interface Totals {
  requests: number
  tx: number
  exceptions: number
  readErrors: number
  writeErrors: number
}

const program = `
  import { createInterface } from 'node:readline'
  import { join } from '${new URL('../dist/instance.js', import.meta.url).href}'
  import { native } from '${new URL('../dist/native.js', import.meta.url).href}'
  join()
  for await (const _ of createInterface(process.stdin)) {
    const workers = native.workers().map((worker) => {
      const rows = native.cores(worker.id)
      const cores = Array.from({ length: rows.length / 6 }, (_, core) => {
        const [, inRequest, , readErrors, writeErrors] = rows.subarray(6 * core)
        return { inRequest, readErrors, writeErrors, head: native.coreHead(worker.id, core) }
      })
      return { ...worker, cores }
    })
    console.log(JSON.stringify(workers))
  }
`

export class Accounts {
  private readonly answers: AsyncIterator<string>
  private readonly ask: () => void

  /** `worker` is the pid of any worker: its environment says where the memory is. */
  constructor(t: TestContext, worker: number) {
    const [attach] = readFileSync(`/proc/${worker}/environ`, 'utf8').match(/(?<=\0UWSHM_ATTACH=)[^\0]+/)!
    const reader = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      env: { ...process.env, UWSHM_ATTACH: attach },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.after(() => reader.kill())
    this.answers = createInterface(reader.stdout)[Symbol.asyncIterator]()
    this.ask = () => void reader.stdin.write('\n')
  }

  async workers(): Promise<Figures[]> {
    this.ask()
    return JSON.parse((await this.answers.next()).value as string) as Figures[]
  }

  async inFlight(): Promise<number> {
    return sum(await this.workers(), ({ inFlight }) => inFlight)
  }

  /** The totals once `requests` are served and `tx` bytes sent, and none is in flight by any account. */
  settled(requests: number, tx = 0): Promise<Totals> {
    return until(`${requests} requests are counted`, async () => {
      const workers = await this.workers()
      const totals = totalsOf(workers)
      const busy = sum(workers, ({ inFlight, cores }) => inFlight + sum(cores, ({ inRequest }) => inRequest))
      return busy === 0 && totals.requests >= requests && totals.tx >= tx && totals
    })
  }

  async become(expected: Totals): Promise<void> {
    assert.deepEqual(await this.settled(expected.requests, expected.tx), expected)
  }
}

export async function accountsOf(t: TestContext, master: Master): Promise<Accounts> {
  await master.serving(1)
  return new Accounts(t, master.pidsOfReady()[0]!)
}

export function totalsOf(workers: Figures[]): Totals {
  const cores = workers.flatMap(({ cores }) => cores)
  return {
    requests: sum(workers, ({ requests }) => requests),
    tx: sum(workers, ({ tx }) => tx),
    exceptions: sum(workers, ({ exceptions }) => exceptions),
    readErrors: sum(cores, ({ readErrors }) => readErrors),
    writeErrors: sum(cores, ({ writeErrors }) => writeErrors),
  }
}

export function sum<T>(rows: T[], column: (row: T) => number): number {
  return rows.reduce((total, row) => total + column(row), 0)
}
