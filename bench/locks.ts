// `npm run bench`: what does a user lock cost alone, who gets it when many want
// it, and what does waiting for it do to an event loop? Beside real uWSGI, flock and a
// Redis lock. Writes docs/lock-benchmarks.md and its picture.
//
// Forked with a role it is one of the processes that are timed.
//
// UWSHM_BENCH_ROUNDS and UWSHM_BENCH_MS shorten it while working on it.

import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { create, uwsgi } from '../dist/index.js'

const rounds = Number(process.env.UWSHM_BENCH_ROUNDS ?? 9)
const duration = Number(process.env.UWSHM_BENCH_MS ?? 1000)
const turns = 200_000

interface Task {
  role: 'plain' | 'fair' | 'async' | 'none'
  /** Milliseconds of the monotonic clock. */
  start: number
  end: number
}

const clock = () => Number(process.hrtime.bigint()) / 1e6
const median = (all: number[]) => all.toSorted((a, b) => a - b)[all.length >> 1]!

if (process.send) {
  process.on('message', (task: Task) => void takePart(task).then((result) => process.send!(result)))
  process.send('ready')
} else await main()

async function takePart({ role, start, end }: Task): Promise<number> {
  if (role === 'plain' || role === 'fair') {
    const lock = uwsgi.namedLock(role, { fair: role === 'fair' })
    while (clock() < start);
    let count = 0
    for (; clock() < end; count++) {
      lock.lock()
      lock.unlock()
    }
    return count
  }
  // An event loop that does a little with the lock, sleeps, and wants it again.
  const lock = uwsgi.namedLock('async')
  await setTimeout(start - clock())
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  while (clock() < end) {
    if (role === 'async') await lock.withLock(work)
    else work()
    await setTimeout(1)
  }
  delay.disable()
  return delay.percentile(99) / 1e6
}

function work() {
  const until = clock() + 0.05
  while (clock() < until);
}

async function main() {
  const [load] = loadavg() as [number]
  // Not above: what it imports listens to messages, as our own roles do.
  const { uwsgiVersion } = await import('./rivals.ts')
  const version = uwsgiVersion()
  if (version === null) fail('real uWSGI', 'uwsgi-core uwsgi-plugin-python3')
  if (spawnSync('redis-server', ['--version']).status !== 0) fail('a Redis server', 'redis-server')
  create({ locks: 1 })
  const folder = mkdtempSync(join(tmpdir(), 'uwshm-bench-'))

  const alone = await timeAlone(folder)
  const crowds: Crowd[] = []
  for (const processes of [2, 8]) {
    for (const role of ['plain', 'fair'] as const)
      crowds.push({ name: `ours, ${role}`, processes, counts: await crowd(processes, role, duration) })
    crowds.push({ name: 'uWSGI', processes, counts: await uwsgiCrowd(folder, processes) })
  }
  const delays = { none: [] as number[], async: [] as number[] }
  for (let round = 0; round < rounds; round++)
    for (const role of ['none', 'async'] as const) delays[role].push(Math.max(...(await crowd(8, role, duration))))
  rmSync(folder, { recursive: true })
  writeFileSync('docs/lock-turns.svg', picture(crowds))
  writeFileSync('docs/lock-benchmarks.md', page(alone, crowds, delays, load, version))
  console.log('written to docs/lock-benchmarks.md')
}

function fail(what: string, packages: string): never {
  console.error(`the benchmark compares with ${what}; on Debian: apt-get install ${packages}`)
  process.exit(1)
}

type Alone = Record<'ours' | 'named' | 'uwsgi' | 'flock' | 'redis' | 'async', number[]>

/** CPU nanoseconds for one lock and one unlock, round after round; Redis in wall time, for it works elsewhere. */
async function timeAlone(folder: string): Promise<Alone> {
  const alone: Alone = { ours: [], named: [], uwsgi: [], flock: [], redis: [], async: [] }
  const uwsgiAt = await startUwsgi(folder, 1)
  const redis = await startRedis(folder)
  const named = uwsgi.namedLock('named')
  const flock = flockIfInstalled()
  const fd = openSync(join(folder, 'flocked'), 'w')
  for (let round = 0; round <= rounds; round++) {
    const ours = cpu(turns, () => {
      for (let i = 0; i < turns; i++) {
        uwsgi.lock()
        uwsgi.unlock()
      }
    })
    const handle = cpu(turns, () => {
      for (let i = 0; i < turns; i++) {
        named.lock()
        named.unlock()
      }
    })
    const { result } = await ask(uwsgiAt.socketPath, `/?turns=${turns}`)
    const flocked =
      flock &&
      cpu(turns / 10, () => {
        for (let i = 0; i < turns / 10; i++) {
          flock(fd, 'ex')
          flock(fd, 'un')
        }
      })
    const asynchronous = await wall(turns / 20, async () => (await uwsgi.lockAsync(1))!.release())
    const remote = await wall(turns / 100, redis.pair)
    if (round === 0) continue // warms up
    alone.ours.push(ours)
    alone.named.push(handle)
    alone.uwsgi.push(result)
    if (flocked !== undefined) alone.flock.push(flocked)
    alone.async.push(asynchronous)
    alone.redis.push(remote)
  }
  closeSync(fd)
  await redis.stop()
  await uwsgiAt.stop()
  return alone
}

function cpu(count: number, loop: () => void): number {
  const before = process.cpuUsage()
  loop()
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / count
}

async function wall(count: number, once: () => Promise<unknown>): Promise<number> {
  const began = clock()
  for (let i = 0; i < count; i++) await once()
  return ((clock() - began) * 1e6) / count
}

/** `npm ci --prefix bench` installs it; it has to be compiled, so it is no dependency of ours. */
function flockIfInstalled() {
  try {
    const { flockSync } = createRequire(import.meta.url)('fs-ext') as { flockSync(fd: number, how: 'ex' | 'un'): void }
    return flockSync
  } catch {
    console.log('fs-ext is not installed (npm ci --prefix bench): no comparison with flock')
    return undefined
  }
}

/** A Redis lock as its documentation has it: SET NX PX, and a script that deletes it if it is ours. */
async function startRedis(folder: string) {
  const path = join(folder, 'redis.sock')
  const child = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--save', '', '--dir', folder], {
    stdio: 'ignore',
  })
  const socket = await connected(path)
  socket.setNoDelay?.(true)
  const command = (...words: string[]) => {
    const answered = once(socket, 'data')
    socket.write(`*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`)
    return answered
  }
  const release = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"
  return {
    async pair() {
      await command('SET', 'lock', 'mine', 'NX', 'PX', '30000')
      await command('EVAL', release, '1', 'lock', 'mine')
    },
    async stop() {
      socket.destroy()
      child.kill()
      await once(child, 'exit')
    },
  }
}

async function connected(path: string) {
  for (let tries = 0; ; tries++) {
    const socket = connect(path)
    try {
      await once(socket, 'connect')
      return socket
    } catch (error) {
      if (tries === 100) throw error
      await setTimeout(50)
    }
  }
}

async function startUwsgi(folder: string, processes: number) {
  const socketPath = join(folder, `uwsgi-${processes}.sock`)
  const options = [
    '--plugin',
    'python3',
    '--wsgi-file',
    join(import.meta.dirname, 'locks.py'),
    '--need-app',
    '--master',
  ]
  const child = spawn(
    'uwsgi',
    [...options, '--processes', `${processes}`, '--http-socket', socketPath, '--die-on-term', '--disable-logging'],
    {
      stdio: 'ignore',
    },
  )
  ;(await connected(socketPath)).destroy()
  return {
    socketPath,
    async stop() {
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

async function ask(socketPath: string, path: string): Promise<{ pid: number; result: number }> {
  const [response] = await once(request({ socketPath, path }).end(), 'response')
  return JSON.parse(await text(response)) as { pid: number; result: number }
}

/** What each of so many processes of ours answers that did the same at the same time. */
async function crowd(processes: number, role: Task['role'], ms: number): Promise<number[]> {
  const children: ChildProcess[] = Array.from({ length: processes }, () => fork(import.meta.filename))
  await Promise.all(children.map((child) => once(child, 'message')))
  const start = clock() + 50 * processes
  const answers = children.map(async (child) => {
    const answer = once(child, 'message')
    child.send({ role, start, end: start + ms } satisfies Task)
    return Number((await answer)[0])
  })
  const results = await Promise.all(answers)
  for (const child of children) child.kill()
  await Promise.all(children.map(async (child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')))
  return results
}

async function uwsgiCrowd(folder: string, processes: number): Promise<number[]> {
  const { socketPath, stop } = await startUwsgi(folder, processes)
  for (let tries = 0; tries < 20; tries++) {
    const start = clock() / 1000 + 0.1 * processes
    const query = `/?start=${start}&end=${start + duration / 1000}`
    const told = await Promise.all(Array.from({ length: processes }, () => ask(socketPath, query)))
    // A worker may have taken two requests, one after the other.
    if (new Set(told.map(({ pid }) => pid)).size < processes) continue
    await stop()
    return told.map(({ result }) => result)
  }
  throw new Error('so many processes never ran at the same time: the machine is too busy to measure on')
}

interface Crowd {
  name: string
  processes: number
  counts: number[]
}

function page(
  alone: Alone,
  crowds: Crowd[],
  delays: Record<'none' | 'async', number[]>,
  load: number,
  version: string,
): string {
  const ratio = (rival: number[]) => median(rival.map((ns, round) => ns / alone.ours[round]!))
  const added = median(delays.async.map((ms, round) => ms - delays.none[round]!))
  const floors: [string, number, number, boolean][] = [
    ['lock + unlock, times as fast as uWSGI from Python', 2, ratio(alone.uwsgi), true],
    ...(alone.flock.length > 0
      ? [['times as fast as `flock` by fs-ext', 15, ratio(alone.flock), true] as [string, number, number, boolean]]
      : []),
    ['times as fast as a Redis lock over a unix socket', 800, ratio(alone.redis), true],
    ['ms that waiting adds to the p99 of event-loop delay, 8 contenders that sleep between turns', 1, added, false],
  ]
  return `<!-- Written by \`npm run bench\`; do not edit. -->

# What a user lock costs

Machine: ${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.versions.node}, uWSGI ${version} (its Python plugin, called in a worker).
${load > 1.5 ? `\nThe machine was busy with other work (load ${load.toFixed(1)}): contended figures are lower than they could be, on every side.\n` : ''}
## The floors

| Promise | Bound | Measured | |
|---|---:|---:|---|
${floors.map(([says, bound, is, isLeast]) => `| ${says} | ${isLeast ? 'at least' : 'at most'} ${bound} | ${is.toFixed(isLeast && is > 100 ? 0 : 2)} | ${(isLeast ? is >= bound : is <= bound) ? 'kept' : '**not kept**'} |`).join('\n')}

## Nobody else wants it

Nanoseconds for one lock and one unlock: the median of ${rounds} rounds, the lowest and the highest. CPU time of the process; for \`lockAsync\` and Redis the
time that passes.

| | ns |
|---|---:|
${rows(alone)}

## Many want it, all the time

Each process takes the lock and lets go as often as it can for ${duration} ms; ${cpus().length} processors. A bar is a process, as high as the turns it had:

![turns of each process, ours plain and fair and uWSGI's, with two processes and with eight](lock-turns.svg)

| | processes | turns of all | the most that one had | the least |
|---|---:|---:|---:|---:|
${crowds.map(shares).join('\n')}

A plain lock is snatched back by whoever runs, so turns are many and come in runs; a fair one changes its process at each turn.

## An event loop that waits

Eight processes take the lock by \`withLock\`, work 0.05 ms, sleep 1 ms and begin again, for ${duration} ms. The highest p99 of the event-loop delay among them, the
median of ${rounds} rounds: **${median(delays.async).toFixed(2)} ms**, without the lock ${median(delays.none).toFixed(2)} ms.
`
}

function rows(alone: Alone): string {
  const names: Record<keyof Alone, string> = {
    ours: '`uwsgi.lock()`, `uwsgi.unlock()`',
    named: '`uwsgi.namedLock(…)`: `lock`, `unlock`',
    async: '`(await uwsgi.lockAsync()).release()`',
    uwsgi: 'uWSGI: `uwsgi.lock()`, `uwsgi.unlock()`',
    flock: '`flock` by fs-ext',
    redis: 'Redis: `SET NX PX`, `EVAL`',
  }
  const row = (key: keyof Alone) => {
    const all = alone[key]
    return `| ${names[key]} | **${Math.round(median(all))}** (${Math.round(Math.min(...all))} to ${Math.round(Math.max(...all))}) |`
  }
  return (Object.keys(names) as (keyof Alone)[])
    .filter((key) => alone[key].length > 0)
    .map(row)
    .join('\n')
}

/** One group of bars for each crowd: the turns of each of its processes, in order. */
function picture(crowds: Crowd[]): string {
  const width = 720
  const groupHeight = 150
  const half = width / 2
  const groups = crowds.map(({ name, processes, counts }, index) => {
    const column = Math.floor(index / 3)
    const top = (index % 3) * groupHeight
    const most = Math.max(...counts, 1)
    const sum = counts.reduce((a, b) => a + b, 0)
    const slot = (half - 40) / counts.length
    const bars = counts
      .toSorted((a, b) => b - a)
      .map((count, i) => {
        const height = (count / most) * 90
        return `<rect x="${(i * slot).toFixed(1)}" y="${(120 - height).toFixed(1)}" width="${(slot * 0.8).toFixed(1)}" height="${height.toFixed(1)}"/>`
      })
    const title = `${name}, ${processes} processes: ${sum.toLocaleString('en')} turns, at most ${most.toLocaleString('en')}`
    return `<g transform="translate(${column * half + 20} ${top})"><text y="20">${title}</text>${bars.join('')}</g>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${3 * groupHeight}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
<g fill="#246">
${groups.join('\n')}
</g>
</svg>
`
}

function shares({ name, processes, counts }: Crowd): string {
  const sum = counts.reduce((a, b) => a + b, 0)
  const part = (count: number) => `${((count / sum) * 100).toFixed(1)} %`
  return `| ${name} | ${processes} | ${sum.toLocaleString('en')} | ${part(Math.max(...counts))} | ${part(Math.min(...counts))} |`
}
