// --log-alarm: a line of the log raises alarms. The lines are the master's own, and
// what workers write to stdout and stderr: that comes to the master then, and goes on
// to where it would have gone.
//
// Workers wait for whoever reads the log, as without us: what they write is taken
// from them, in whole lines, as fast as it can be passed on, and no faster; so little
// is kept here. Lines that begin with [uwsgi-alarm, and what alarms log themselves,
// raise none: in uWSGI they do, and may go round for ever.

import { write } from 'node:fs'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { UwsgiError } from '../errors.ts'
import { onLog } from '../log.ts'

/** Of a longer line this much is looked at. */
const longestLine = 8192
/** How much of a line is waited for. */
const longestBegun = 65536

interface Rule {
  alarms: string[]
  pattern: RegExp
}

interface Bell {
  /** Throws when there is no such alarm. */
  known(alarm: string, option: string): void
  raise(alarm: string, line: string): void
}

export class LogLines {
  private readonly rules: Rule[]
  private readonly exceptions: Rule[]
  private readonly bell: Bell
  /** By descriptor: what is written there, in order. */
  private readonly writing = new Map<number, Promise<void>>()
  private readonly followed = new Set<Promise<void>>()

  constructor(rules: readonly string[], exceptions: readonly string[], bell: Bell) {
    this.bell = bell
    this.rules = rules.map((text) => this.ruleOf(text, '--log-alarm'))
    this.exceptions = exceptions.map((text) => this.ruleOf(text, '--not-log-alarm'))
  }

  start(): void {
    onLog((line) => this.hear(line))
  }

  /** What a worker writes; it is passed on to descriptor `fd`. */
  follow(output: Readable, fd: number): void {
    const following = this.pass(output, fd).finally(() => this.followed.delete(following))
    this.followed.add(following)
  }

  /** Resolves when everything that was written has been passed on. */
  async drained(): Promise<void> {
    await Promise.all(this.followed)
  }

  hear(line: string): void {
    if (line.startsWith('[uwsgi-alarm')) return
    const seen = line.slice(0, longestLine)
    const spared = new Set(this.exceptions.filter(({ pattern }) => pattern.test(seen)).flatMap(({ alarms }) => alarms))
    for (const { alarms, pattern } of this.rules)
      if (alarms.some((alarm) => !spared.has(alarm)) && pattern.test(seen))
        for (const alarm of alarms) if (!spared.has(alarm)) this.bell.raise(alarm, line)
  }

  private async pass(output: Readable, fd: number): Promise<void> {
    const decoder = new StringDecoder('utf8')
    let begun = ''
    try {
      for await (const bytes of output as AsyncIterable<Buffer>) {
        const lines = (begun + decoder.write(bytes)).split('\n')
        begun = lines.pop()!
        // Whole lines: another worker's must not come between two halves of one.
        if (begun.length > longestBegun) {
          lines.push(begun)
          begun = ''
        }
        if (lines.length > 0) await this.passOn(lines, fd)
      }
    } catch {
      // the worker is gone
    }
    if (begun !== '') await this.passOn([begun], fd)
  }

  private async passOn(lines: string[], fd: number): Promise<void> {
    const text = Buffer.from(`${lines.join('\n')}\n`)
    const written = (this.writing.get(fd) ?? Promise.resolve()).then(() => writeAll(fd, text))
    this.writing.set(fd, written)
    await written
    for (const line of lines) this.hear(line)
  }

  /** `ALARM[,ALARM] REGEXP` */
  private ruleOf(text: string, option: string): Rule {
    const [, names, source] = /^(\S+) +(.+)$/s.exec(text) ?? []
    if (names === undefined || source === undefined)
      throw new UwsgiError('LOG_ALARM', option, text, 'it has no pattern')
    const alarms = names.split(',').filter(Boolean)
    for (const alarm of alarms) this.bell.known(alarm, option)
    try {
      return { alarms, pattern: new RegExp(source) }
    } catch (error) {
      throw new UwsgiError('LOG_ALARM', option, text, (error as Error).message)
    }
  }
}

/** Whoever reads the log may be slow, or gone. */
async function writeAll(fd: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const outcome = await new Promise<number | string | undefined>((resolve) => {
      write(fd, bytes, at, (error, written) => resolve(error ? error.code : written))
    })
    if (typeof outcome === 'number') at += outcome
    else if (outcome !== 'EAGAIN') return
    else await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
