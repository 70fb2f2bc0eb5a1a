// Starts the processes that are compared, and times them alone or in pairs.
//
// CPU time is counted, not wall time: neighbours on the machine then cost little. What
// two processes cost each other is only seen while both run, so a pair starts and ends
// at the same moment, and two timings from one process do not count.

import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { makeKeys, milliseconds } from './keys.ts'
import type { Timing } from './timed.ts'

export interface Rival {
  /** Nanoseconds per call, the mean of the `processes` that ran at the same time. */
  time(loop: string, size: number, processes: 1 | 2, duration: number): Promise<{ cpu: number; wall: number }>
  stop(): Promise<void>
}

/** Node processes with the loops of a file: two, of which the second idles when one is asked for. */
export function startNode(file: 'loops.ts' | 'stores.ts' = 'loops.ts'): Rival {
  const children = [0, 1].map((index) => fork(new URL(file, import.meta.url), [String(index)]))

  return {
    time: (loop, size, processes, duration) =>
      together(processes, duration, async (start, end, i) => {
        const child = children[i]!
        child.send({ loop, size, start, end })
        return await answer(child)
      }),

    async stop() {
      for (const child of children) child.kill()
      await Promise.all(children.map(async (child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')))
    },
  }
}

function answer(child: ChildProcess): Promise<Timing> {
  return new Promise((resolve, reject) => {
    const gone = (code: number | null, signal: string | null) =>
      reject(new Error(`a timed process ended with ${code ?? signal}`))
    child.once('exit', gone)
    child.once('message', (timing: Timing) => {
      child.off('exit', gone)
      resolve(timing)
    })
  })
}

/** The version of Debian's uWSGI with its Python plugin, or null when it is not installed. */
export function uwsgiVersion(): string | null {
  const { status, stdout } = spawnSync('uwsgi', ['--plugin', 'python3', '--version'], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : null
}

/** Real uWSGI with these `--cache2`: one instance with one worker, another with two. A busy worker takes no second request. */
export async function startUwsgi(caches: string[]): Promise<Rival> {
  const instances = await Promise.all([1, 2].map((processes) => oneUwsgi(processes, caches)))
  return {
    time: (loop, size, processes, duration) =>
      together(processes, duration, async (start, end) => {
        const query = new URLSearchParams({ op: loop, size: `${size}`, start: `${start}`, end: `${end}` })
        return (await ask(instances[processes - 1]!.socketPath, `/?${query}`)) as Timing
      }),

    stop: async () => void (await Promise.all(instances.map(({ stop }) => stop()))),
  }
}

/** KiB of shared memory that uWSGI has, with one such cache, after one pass of `loop`. */
export async function uwsgiMemory(cache: string, loop: string): Promise<number> {
  const { socketPath, stop } = await oneUwsgi(1, [cache])
  const { pid } = (await ask(socketPath, `/?op=${loop}&size=0&start=0&end=0`)) as Timing
  const kib = sharedMemory(pid)
  await stop()
  return kib
}

/** KiB of shared memory that a process has mapped and touched. */
export function sharedMemory(pid: number | 'self'): number {
  return Number(/RssShmem:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1])
}

async function oneUwsgi(processes: number, caches: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'uwshm-bench-'))
  const socketPath = join(folder, 'http.sock')
  const child = spawn(
    'uwsgi',
    [
      ...['--plugin', 'python3', '--wsgi-file', join(import.meta.dirname, 'uwsgi.py'), '--need-app'],
      ...['--master', '--processes', `${processes}`, '--http-socket', socketPath],
      ...['--die-on-term', '--disable-logging'],
      ...caches.flatMap((cache) => ['--cache2', cache]),
    ],
    { stdio: 'ignore', env: { ...process.env, BENCH_KEYS: JSON.stringify(makeKeys()) } },
  )
  await answering(socketPath)
  return {
    socketPath,
    async stop() {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      rmSync(folder, { recursive: true })
    },
  }
}

async function together(
  processes: number,
  duration: number,
  measure: (start: number, end: number, i: number) => Promise<Timing>,
) {
  for (let tries = 0; tries < 20; tries++) {
    // Time enough for both to have been told, and to spread over the processors.
    const start = milliseconds() + 20
    const timings = await Promise.all(Array.from({ length: processes }, (_, i) => measure(start, start + duration, i)))
    // On a busy machine one uWSGI worker may have taken both requests, one after the other.
    if (new Set(timings.map(({ pid }) => pid)).size === processes)
      return { cpu: mean(timings.map((one) => one.nanoseconds)), wall: mean(timings.map((one) => one.wall)) }
  }
  throw new Error('two processes never ran at the same time: the machine is too busy to measure on')
}

function mean(numbers: number[]): number {
  return numbers.reduce((sum, one) => sum + one, 0) / numbers.length
}

async function answering(socketPath: string) {
  for (let tries = 0; ; tries++) {
    try {
      return await ask(socketPath, '/?op=nothing&size=0&start=0&end=0')
    } catch (error) {
      if (tries === 200) throw error
      await setTimeout(50)
    }
  }
}

async function ask(socketPath: string, path: string): Promise<unknown> {
  const asked = request({ socketPath, path }).end()
  const [response] = await once(asked, 'response')
  return JSON.parse(await text(response))
}
