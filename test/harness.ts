// Real masters for tests: started from dist/ as a user starts them, watched
// through their log, their sockets and /proc, ended by pid.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect, type NetConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

export const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

/** The path of a module in test/apps. */
export function app(name: string): string {
  return fileURLToPath(new URL(`apps/${name}`, import.meta.url))
}

/** A folder of its own, removed at the end. */
export function folder(t: TestContext, parent = tmpdir()): string {
  const path = mkdtempSync(join(parent, 'uwshm-test-'))
  // A master that is ended only after this may be writing to it.
  t.after(() => until('the folder is removed', () => isRemoved(path)))
  return path
}

function isRemoved(path: string): boolean {
  try {
    rmSync(path, { recursive: true, force: true })
    return true
  } catch {
    return false
  }
}

/** Waits until `condition` gives something; fails with `what` after a while. */
export async function until<T>(
  what: string,
  condition: () => T | false | Promise<T | false>,
  ms = 15_000,
): Promise<Exclude<NonNullable<T>, false>> {
  const end = Date.now() + ms
  for (;;) {
    const result = await condition()
    if (result) return result as Exclude<NonNullable<T>, false>
    if (Date.now() > end) assert.fail(`waited ${ms} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

export interface Where {
  port?: number
  socketPath?: string
  path?: string
  method?: string
  agent?: Agent
  body?: string
}

/** One request on a connection of its own, unless an agent is given. */
export function get({ agent, body, ...where }: Where): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', ...where, agent: agent ?? new Agent() }, (incoming) => {
      let text = ''
      incoming.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      incoming.on('error', reject)
      incoming.on('end', () => resolve({ status: incoming.statusCode!, headers: incoming.headers, body: text }))
    })
    outgoing.setTimeout(20_000, () => outgoing.destroy(new Error('no answer within 20 seconds')))
    outgoing.on('error', reject).end(body)
  })
}

/** Everything a peer sends until it ends. */
export function readAll(where: NetConnectOpts): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect(where)
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    socket.on('error', reject).on('end', () => resolve(text))
  })
}

export interface StatsDocument {
  pid: number
  locks: Record<string, number>[]
  caches: { name: string; items: number }[]
  sockets: { name: string }[]
  workers: {
    id: number
    pid: number
    accepting: number
    requests: number
    status: string
    respawn_count: number
    beat_age: number
  }[]
  [key: string]: unknown
}

export class Master {
  readonly child: ChildProcess
  private end: { status: number | null; signal: string | null } | undefined
  log = ''

  /** `fds`: what it finds open at 3, 4, …; `descriptors`: how many it may have. */
  constructor(
    args: string[],
    options: { cwd?: string; env?: Record<string, string>; fds?: number[]; descriptors?: number } = {},
  ) {
    const command = [process.execPath, cli, ...args]
    if (options.descriptors !== undefined) command.unshift('prlimit', `--nofile=${options.descriptors}`)
    this.child = spawn(command[0]!, command.slice(1), {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe', ...(options.fds ?? [])],
      // A group of its own, as a shell gives it: a test can press Ctrl-C.
      detached: true,
    })
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.log += text
      })
    // Its log is complete only when its workers, who write to it too, are gone.
    this.child.once('close', (status, signal) => {
      this.end = { status, signal }
    })
  }

  get pid(): number {
    return this.child.pid!
  }

  /** Waits until it and its workers are gone. */
  get ended(): Promise<{ status: number | null; signal: string | null }> {
    return until('the master ends', () => this.end ?? false)
  }

  /** Waits for a line of the log. */
  line(pattern: RegExp): Promise<RegExpMatchArray> {
    const found = () => this.log.match(pattern) ?? (this.hasEnded ? assert.fail(`it ended:\n${this.log}`) : null)
    return until(`${pattern}\n${this.log}`, found)
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** Until `count` workers serve. */
  async serving(count: number): Promise<this> {
    await until(`${count} workers serve`, () => {
      if (this.hasEnded) assert.fail(`it ended:\n${this.log}`)
      return this.pidsOfReady().length >= count
    })
    return this
  }

  pidsOfReady(): number[] {
    return [...this.log.matchAll(/ready in .* \(pid: (\d+)\)/g)].map(([, pid]) => Number(pid))
  }

  /** The port that socket `index` of the command line got. */
  port(index = 0): number {
    return Number(this.log.match(new RegExp(`uwsgi socket ${index} bound to TCP address .*:(\\d+)`))![1])
  }

  async stats(): Promise<StatsDocument> {
    const [, name] = await this.line(/Stats server enabled on (\S+)/)
    const tcp = name!.match(/:(\d+)$/)
    const text = await readAll(tcp ? { host: '127.0.0.1', port: Number(tcp[1]) } : { path: name! })
    return JSON.parse(text) as StatsDocument
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    this.child.kill(signal)
  }

  /** Whatever is left of it. */
  killAll(): void {
    try {
      process.kill(-this.pid, 'SIGKILL')
    } catch {
      // all gone
    }
  }

  /** As a terminal does it: to the master and to every worker. */
  ctrlC(): void {
    process.kill(-this.pid, 'SIGINT')
  }
}

/** A master that is killed, with its workers, at the end of the test. */
export function run(t: TestContext, args: string[], options?: ConstructorParameters<typeof Master>[1]): Master {
  const master = new Master(args, options)
  t.after(async () => {
    master.killAll()
    await master.ended
  })
  return master
}

/** Pids of processes whose command line contains `mark`. */
export function processesWith(mark: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && commandLine(name).includes(mark))
    .map(Number)
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return '' // gone meanwhile
  }
}

export function isAlive(pid: number): boolean {
  return commandLine(String(pid)) !== ''
}
