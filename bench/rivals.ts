// Starts the processes that are compared, and times them alone or in pairs.
//
// CPU time is counted, not wall time: neighbours on the machine then cost little. What
// two processes cost each other is only seen while both run, so a pair starts and ends
// at the same moment, and two timings from one process do not count.

import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { makeKeys, milliseconds, sizes, type Timing } from './loops.ts'

export interface Rival {
  /** CPU nanoseconds per call, the mean of the `processes` that ran at the same time. */
  time(loop: string, size: number, processes: 1 | 2, duration: number): Promise<number>
  stop(): Promise<void>
}

/** Node processes of ours, or with a Map in each: two, of which the second idles when one is asked for. */
export async function startNode(): Promise<Rival> {
  const children = [0, 1].map((index) => fork(new URL('loops.ts', import.meta.url), [String(index)]))

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

/** Real uWSGI: one instance with one worker, another with two. A busy worker takes no second request. */
export async function startUwsgi(): Promise<Rival> {
  const folder = mkdtempSync(join(tmpdir(), 'uwshm-bench-'))
  const instances = [1, 2].map((processes) => ({
    socketPath: join(folder, `${processes}.sock`),
    child: spawn(
      'uwsgi',
      [
        ...['--plugin', 'python3', '--wsgi-file', join(import.meta.dirname, 'uwsgi.py'), '--need-app'],
        ...['--master', '--processes', `${processes}`, '--http-socket', join(folder, `${processes}.sock`)],
        ...['--die-on-term', '--disable-logging'],
        ...sizes.flatMap((size) => ['--cache2', `name=v${size},items=8192,blocksize=${size}`]),
        ...['--cache2', 'name=counters,items=8192,blocksize=8'],
        ...['--cache2', 'name=runs,items=8192,blocksize=64,blocks=65536,bitmap=1'],
      ],
      {
        stdio: ['ignore', 'ignore', 'ignore'],
        env: { ...process.env, BENCH_KEYS: JSON.stringify(makeKeys()) },
      },
    ),
  }))
  for (const { socketPath } of instances) await answering(socketPath)

  return {
    time: (loop, size, processes, duration) =>
      together(processes, duration, async (start, end) => {
        const query = new URLSearchParams({ op: loop, size: `${size}`, start: `${start}`, end: `${end}` })
        return (await ask(instances[processes - 1]!.socketPath, `/?${query}`)) as Timing
      }),

    async stop() {
      for (const { child } of instances) child.kill('SIGTERM')
      await Promise.all(instances.map(async ({ child }) => child.exitCode ?? once(child, 'exit')))
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
      return timings.reduce((sum, { nanoseconds }) => sum + nanoseconds, 0) / processes
  }
  throw new Error('two processes never ran at the same time: the machine is too busy to measure on')
}

async function answering(socketPath: string) {
  for (let tries = 0; ; tries++) {
    try {
      return await ask(socketPath, '/?op=miss&size=32&start=0&end=0')
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
