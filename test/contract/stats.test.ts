// Our statistics against those who read uWSGI's (clients.ts), and key by key
// against what uWSGI itself wrote (samples/), in every state of the workers.

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, type NetConnectOpts, Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { native } from '../../src/native.ts'
import { app, folder, get, type Master, run, until } from '../harness.ts'
import { satisfies } from './clients.ts'

type Row = Record<string, unknown>
interface Document extends Row {
  pid: number
  cwd: string
  load: number
  listen_queue: number
  sockets: Row[]
  /** With --enable-metrics. */
  metrics: Record<string, { value: number }>
  workers: (Row & { id: number; pid: number; status: string; cores: (Row & { vars: string[] })[]; apps: Row[] })[]
}

const http = ['--http-socket', '127.0.0.1:0']
const caches = ['--cache2', 'name=default,items=100', '--cache2', 'name=he said "a\\,b"\n\u{1f389},items=7']
const sample = (name: string) =>
  JSON.parse(readFileSync(new URL(`samples/${name}.json`, import.meta.url), 'utf8')) as Row

/** Later issues bring these. */
const notYet = ['metrics', 'spoolers', 'crons']
const ours = {
  document: ['generated_at', 'uptime', 'schema', 'lock_figures'],
  cache: ['bytes', 'expired', 'policy', 'evictions', 'repairs', 'longest_chain', 'damaged', 'refused'],
  worker: ['in_flight', 'core_overflows', 'loop_delay_p50', 'loop_delay_p99', 'loop_delay_max', 'beat_age'],
}

test('idle: every client is satisfied, and every key is where uWSGI has it, in its type', async (t) => {
  const { read } = await start(t, ['-p', '2', '--threads', '2', ...caches, app('hangs.mjs')], 2)
  const document = await read()
  sameKeys(document, sample('idle'))
  const uptime = await until('it is up for a second', async () => (await read()).uptime as number)
  assert.ok(uptime < 60, `${uptime} seconds`)
  assert.deepEqual(
    document.workers.map(({ id, status, accepting, respawn_count }) => [id, status, accepting, respawn_count]),
    [
      [1, 'idle', 1, 1],
      [2, 'idle', 1, 1],
    ],
  )
})

test('no cache and one worker: the smallest document satisfies them too', async (t) => {
  const { read } = await start(t, [app('hangs.mjs')], 1)
  const document = await read()
  assert.deepEqual(document.caches, [])
  sameKeys(document, sample('smallest'), ['daemons', 'caches'])
})

test('with metrics: they stand between caches and sockets, unless they are left out', async (t) => {
  const args = ['-p', '1', '--enable-metrics', '--metric', 'name=orders', app('hangs.mjs')]
  const { read, master } = await start(t, args, 1)
  const document = await read()
  const keys = Object.keys(document)
  assert.deepEqual(keys.slice(keys.indexOf('metrics') - 1, keys.indexOf('metrics') + 2), [
    'caches',
    'metrics',
    'sockets',
  ])
  const { metrics } = document
  assert.deepEqual(metrics['worker.1.respawns'], { type: 0, oid: '3.1.14', value: 1 })
  assert.deepEqual(metrics.orders, { type: 0, oid: '', value: 0 })
  assert.equal(metrics['core.overloaded']!.value, 0)
  ask(t, master, 'GET /hang HTTP/1.1\r\nHost: h\r\n\r\n')
  const busy = await until('all workers are busy for two looks', async () => {
    const now = await read()
    return now.metrics['core.overloaded']!.value >= 2 && now.metrics
  })
  assert.deepEqual([busy['core.busy_workers']!.value, busy['core.idle_workers']!.value], [1, 0])
  const without = await (await start(t, ['--stats-no-metrics', ...args], 1)).read()
  assert.equal('metrics' in without, false)
})

test('the figures of locks follow: one row for each user lock, and one for each structure with locks of the engine', async (t) => {
  const { read } = await start(
    t,
    ['--locks', '1', '--lock-engine', 'futex', '--cache2', 'name=c,items=9', app('hangs.mjs')],
    1,
  )
  const { lock_figures } = (await read()) as unknown as { lock_figures: Row[] }
  assert.deepEqual(
    lock_figures.map(({ name, kind, pid, waiters, engine }) => [name, kind, pid, waiters, engine]),
    [
      ['user 0', 'plain', 0, 0, 'word'],
      ['user 1', 'plain', 0, 0, 'word'],
      ['processes', 'internal', 0, undefined, 'futex'],
      ['user_locks', 'internal', 0, undefined, 'futex'],
      ['cache_c', 'internal', 0, undefined, 'futex'],
    ],
  )
})

test('busy: the request is told as uWSGI tells it, without its secrets', async (t) => {
  const secret = `hunter2-${process.pid}`
  const { read, master } = await start(
    t,
    ['--threads', '2', '--stats-redact', 'x-api-key', ...caches, app('hangs.mjs')],
    1,
    {
      UWSHM_TEST_SECRET: secret,
    },
  )
  const keys = 'user-agent: curl\r\naccept: */*\r\n'
  const secrets = `Cookie: a=${secret}\r\nauthorization: Basic ${secret}\r\nX-Api-Key: ${secret}\r\nSet-Cookie: ${secret}\r\n`
  ask(
    t,
    master,
    `GET /sleep?s=4 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n${keys}${secrets}Proxy-Authorization: ${secret}\r\n\r\n`,
  )
  const document = await until('it is busy, and its headers are there', async () => {
    const now = await read()
    return now.workers[0]!.cores.some(({ vars }) => vars.includes('HTTP_ACCEPT=*/*')) && now
  })
  sameKeys(document, sample('busy'))
  const [worker] = document.workers
  const core = worker!.cores.find(({ in_request }) => in_request === 1)!
  assert.equal(worker!.status, 'busy')
  assert.equal(worker!.in_flight, 1)
  const { request_start } = core.req_info as { request_start: number }
  assert.ok(Math.abs(request_start - Date.now() / 1000) < 60)
  assert.equal(core.vars.at(-1), '')

  const theirs = (sample('busy') as unknown as Document).workers[0]!.cores[0]!.vars.map(keyOf)
  assert.deepEqual(
    core.vars.map(keyOf).filter((key) => theirs.includes(key)),
    theirs,
  )
  assert.ok(core.vars.includes('HTTP_AUTHORIZATION=[redacted]'))
  assert.ok(core.vars.includes('HTTP_X_API_KEY=[redacted]'))
  assert.doesNotMatch(JSON.stringify(document), new RegExp(secret), 'neither from a header nor from the environment')
})

test('paused: those who are at rest say so, still accepting as with uWSGI; a busy one is busy', async (t) => {
  const { read, master } = await start(t, ['-p', '2', '--threads', '2', ...caches, app('hangs.mjs')], 2)
  ask(t, master, 'GET /hang HTTP/1.1\r\nHost: h\r\n\r\n')
  await until('one is busy', async () => (await read()).workers.some(({ status }) => status === 'busy'))
  process.kill(master.pid, 'SIGTSTP')
  const document = await until('the other one pauses', async () => {
    const now = await read()
    return now.workers.some(({ status }) => status === 'pause') && now
  })
  sameKeys(document, sample('paused'))
  assert.deepEqual(document.workers.map(({ status, accepting }) => `${status} ${accepting}`).sort(), [
    'busy 1',
    'pause 1',
  ])
  process.kill(master.pid, 'SIGTSTP')
  await until('it goes on', async () => (await read()).workers.some(({ status }) => status === 'idle'))
})

test('requests with whatever bytes HTTP allows, and more of them than are kept, leave the document valid', async (t) => {
  const secret = 'hunter2'
  const { read, master } = await start(t, ['--threads', '8', app('hangs.mjs')], 1)
  const bytes = Buffer.from(Array.from({ length: 128 }, (_, index) => 128 + index)).toString('latin1')
  const long = `${'x'.repeat(4000)}`
  ask(t, master, `GET /"\\%00%ff%22 HTTP/1.1\r\nHost: h\r\nX-Bytes: ${bytes}"\\\t'\r\n\r\n`)
  ask(t, master, `GET /${long}${long} HTTP/1.1\r\nHost: h\r\nCookie: ${secret}\r\n\r\n`)
  for (const length of [3800, 3900, 3950, 4000, 4010])
    ask(t, master, `GET / HTTP/1.1\r\nHost: h\r\nX-Long: ${'x'.repeat(length)}\r\nCookie: ${secret.repeat(20)}\r\n\r\n`)
  // A control byte is no header: Node answers 400, nothing is in flight.
  ask(t, master, 'GET / HTTP/1.1\r\nHost: h\r\nX-Control: \x01\r\n\r\n')
  const document = await until('all seven are told', async () => {
    const now = await read()
    const told = now.workers[0]!.cores.filter(({ vars }) =>
      vars.some((one) => /^HTTP_HOST|^PATH_INFO=.x{3000}/.test(one)),
    )
    return told.length === 7 && now
  })
  assert.doesNotMatch(JSON.stringify(document), new RegExp(secret))
  assert.ok(document.workers[0]!.cores.every(({ vars }) => vars.join().length < 20_000))
})

test('names with quotes, line ends and bytes that are no text leave the document valid', async (t) => {
  const base = folder(t)
  const odd = Buffer.concat([Buffer.from(`${base}/a"b\\c\nd\u{1f389}`), Buffer.from([0x01, 0xff, 0x80])])
  mkdirSync(odd)
  symlinkSync(odd, join(base, 'way'))
  const socket = join(base, 'so"ck\n\u{1f389}.sock')
  const args = ['--chdir', join(base, 'way'), '--http-socket', socket, ...caches, app('hangs.mjs')]
  const { read } = await start(t, args, 1)
  const { cwd, sockets } = await read()
  assert.ok(cwd.includes('a"b\\c\nd\u{1f389}\x01'), cwd)
  assert.equal(sockets.at(-1)!.name, socket)
})

test('a worker without a process is cheap, keeps its id and its counters, until it is replaced', async (t) => {
  const stop = join(folder(t), 'stop')
  const args = ['-p', '2', '--enable-metrics', ...caches, app('hangs.mjs'), '--', stop]
  const { read, master } = await start(t, args, 2)
  const served = await until('both have served', async () => {
    await get({ port: master.port(), path: '/quick' })
    const now = await read()
    return now.workers.every(({ requests }) => Number(requests) > 0) && now
  })
  writeFileSync(stop, '')
  const { id, pid, requests } = served.workers[0]!
  process.kill(pid, 'SIGKILL')
  const document = await until('its replacement is put off', async () => {
    const now = await read()
    return now.workers[id - 1]!.status === 'cheap' && now
  })
  sameKeys(document, sample('idle'), ['metrics'], [])
  const { 'core.busy_workers': busy, 'core.idle_workers': idle } = document.metrics
  assert.deepEqual([busy!.value, idle!.value], [0, 1])
  const dead = document.workers[0]!
  assert.deepEqual([dead.id, dead.pid, dead.accepting, dead.rss, dead.apps.length], [1, 0, 0, 0, 0])
  assert.ok(Number(dead.requests) >= Number(requests))
  assert.equal(document.workers[1]!.status, 'idle')
})

test('--stats-min has neither line ends nor tabs, --stats-no-cores no cores, and nothing else changes', async (t) => {
  const args = ['-p', '2', '--stats-min', '--stats-no-cores', '--stats-no-metrics', ...caches, app('hangs.mjs')]
  const { read, bytes } = await start(t, args, 2, {}, { withoutCores: true })
  assert.doesNotMatch((await bytes()).toString(), /[\n\t]|": /)
  sameKeys(await read(), sample('no-cores'), ['daemons', 'caches'])
})

test('--memory-report adds uss and pss after vsz; rss and vsz are always there', async (t) => {
  const { read } = await start(t, ['--memory-report', app('hangs.mjs')], 1)
  const { workers } = await until('the master has looked', async () => {
    const now = await read()
    return Number(now.workers[0]!.pss) > 0 && now
  })
  const { pid, rss, vsz, uss, pss } = workers[0]! as unknown as Record<string, number>
  const keys = Object.keys(workers[0]!)
  assert.deepEqual(keys.slice(keys.indexOf('rss'), keys.indexOf('running_time')), ['rss', 'vsz', 'uss', 'pss'])
  assert.ok(uss! > 2 ** 20 && uss! <= pss! && pss! <= rss! * 1.5 && rss! < vsz!, JSON.stringify(workers[0]))
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) * 1024
  assert.ok(Math.abs(rss! - resident) < 2 ** 24, `${rss} and ${resident}`)
})

test('connections that wait are told, of TCP and of unix sockets, and the longest queue is the load', async (t) => {
  const path = join(folder(t), 'app.sock')
  const args = ['--http-socket', path, '--listen', '50', '--enable-metrics', app('hangs.mjs')]
  const { read, master } = await start(t, args, 1)
  const [pid] = master.pidsOfReady()
  process.kill(pid!, 'SIGSTOP')
  t.after(() => process.kill(pid!, 'SIGCONT'))
  const waiting = [
    ...Array.from({ length: 3 }, () => ({ host: '127.0.0.1', port: master.port() })),
    ...Array.from({ length: 5 }, () => ({ path })),
  ].map((where: NetConnectOpts) => connect(where).on('error', () => {}))
  t.after(() => {
    for (const socket of waiting) socket.destroy()
  })
  const document = await until('they wait', async () => {
    const now = await read()
    return now.sockets[0]!.queue === 3 && now.sockets[1]!.queue === 5 && now
  })
  assert.deepEqual(
    document.sockets.map(({ max_queue }) => max_queue),
    [50, 50],
  )
  assert.deepEqual([document.listen_queue, document.load], [5, 5])
  await until('the metrics have them, socket by socket', async () => {
    const { metrics } = await read()
    return metrics['socket.0.listen_queue']!.value === 3 && metrics['socket.1.listen_queue']!.value === 5
  })
})

test('each client comes by its own way', async (t) => {
  const path = join(folder(t), 'stats.sock')
  const name = `uwshm-contract-${process.pid}`
  const ways: { where: string; read: (address: string) => Promise<Buffer> }[] = [
    { where: '127.0.0.1:0', read: (address) => askTwice(tcp(address)) },
    { where: path, read: () => askTwice({ path }) },
    { where: `@${name}`, read: () => whole(new Socket({ fd: native.connectUnix(`\0${name}`) })) },
  ]
  for (const { where, read } of ways) {
    const master = await run(t, [...http, '--stats', where, ...caches, app('hangs.mjs')]).serving(1)
    const [, address] = await master.line(/Stats server enabled on (\S+)/)
    for (let i = 0; i < 3; i++) satisfies(await read(address!))
  }
  const args = [...http, '--stats', '127.0.0.1:0', '--stats-http', ...caches, app('hangs.mjs')]
  const master = await run(t, args).serving(1)
  const [, port] = await master.line(/Stats server enabled on .*:(\d+)/)
  const { status, headers, body } = await get({ port: Number(port) })
  assert.deepEqual([status, headers['content-type']], [200, 'application/json'], 'the exporter compares every letter')
  satisfies(Buffer.from(body))
})

/** A master, and a way to read its document, which is held against all clients each time. */
async function start(
  t: TestContext,
  args: string[],
  workers: number,
  env: Record<string, string> = {},
  how: { withoutCores?: boolean } = {},
) {
  const path = join(folder(t), 's')
  const master = await run(t, [...http, '--stats', path, ...args], { env }).serving(workers)
  const bytes = async () => {
    const document = await whole(connect({ path }))
    satisfies(document, how)
    sameLayout(document.toString())
    return document
  }
  return { master, bytes, read: async () => JSON.parse((await bytes()).toString()) as Document }
}

/** Cores are written by hand: it must not show. */
function sameLayout(text: string): void {
  const again = JSON.stringify(JSON.parse(text), null, text.includes('\n') ? '\t' : '')
  const decoded = text.replace(/\\u([89a-f][0-9a-f]{3}|0[1-9a-f][0-9a-f]{2}|00[89a-f][0-9a-f])/g, (_, hex: string) => {
    return String.fromCharCode(parseInt(hex, 16))
  })
  assert.equal(decoded, again)
}

/**
 * The keys of `theirs`, in their order and of their types, then ours.
 * `more`: keys that we always have, uWSGI only with what they are about.
 */
function sameKeys(document: Row, theirs: Row, more: string[] = [], apps?: unknown[]): void {
  const wanted = Object.keys(theirs).filter((key) => !notYet.includes(key))
  const present = Object.keys(document)
  assert.deepEqual(
    present.filter((key) => !more.includes(key)),
    [...wanted, ...ours.document],
  )
  assert.deepEqual(present.slice(-ours.document.length), ours.document)
  sameTypes(document, theirs, wanted)
  sameRow(firstOf(document.sockets), firstOf(theirs.sockets))
  sameRow(firstOf(document.caches), firstOf(theirs.caches), ours.cache)
  const worker = firstOf(document.workers)!
  const theirWorker = firstOf(theirs.workers)!
  sameRow(worker, theirWorker, ours.worker)
  if (apps === undefined) sameRow(firstOf(worker.apps), firstOf(theirWorker.apps))
  sameRow(firstOf(worker.cores), firstOf(theirWorker.cores))
}

function sameRow(row: Row | undefined, theirs: Row | undefined, more: string[] = []): void {
  if (row === undefined || theirs === undefined) return
  assert.deepEqual(Object.keys(row), [...Object.keys(theirs), ...more])
  sameTypes(row, theirs, Object.keys(theirs))
}

function sameTypes(row: Row, theirs: Row, keys: string[]): void {
  const kind = (value: unknown) => (Array.isArray(value) ? 'list' : typeof value)
  for (const key of keys) assert.equal(kind(row[key]), kind(theirs[key]), key)
}

function firstOf(list: unknown): Row | undefined {
  return (list as Row[] | undefined)?.[0]
}

function keyOf(one: string): string {
  return one.split('=')[0]!
}

/** A request that the test does not wait for. */
function ask(t: TestContext, master: Master, text: string): void {
  const socket = connect({ host: '127.0.0.1', port: master.port() }).on('error', () => {})
  socket.write(Buffer.from(text, 'latin1'))
  t.after(() => socket.destroy())
}

async function whole(socket: Socket): Promise<Buffer> {
  return Buffer.concat((await socket.toArray()) as Buffer[])
}

/** One Datadog check looks whether anyone is there before it asks. */
async function askTwice(where: NetConnectOpts): Promise<Buffer> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(where, () => socket.destroy())
    socket.on('error', reject).on('close', () => resolve())
  })
  return whole(connect(where))
}

function tcp(address: string): NetConnectOpts {
  return { host: '127.0.0.1', port: Number(address.split(':')[1]) }
}
