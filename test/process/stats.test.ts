// The statistics server, over each kind of socket and with bad clients.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { app, folder, get, run, type StatsDocument, until } from '../harness.ts'

const http = ['--http-socket', '127.0.0.1:0']

const topKeys =
  'version listen_queue listen_queue_errors signal_queue load pid uid gid cwd daemons locks caches sockets workers ' +
  'generated_at uptime schema'
const workerKeys =
  'id pid accepting requests delta_requests exceptions harakiri_count signals signal_queue status rss vsz ' +
  'running_time last_spawn respawn_count tx avg_rt apps cores in_flight core_overflows loop_delay_p50 ' +
  'loop_delay_p99 loop_delay_max beat_age'
const cacheKeys =
  'name hash hashsize keysize max_items blocks blocksize items hits miss full last_modified_at ' +
  'bytes expired repairs longest_chain refused'

test('the document has every key of uWSGI in its order, and integers only', async (t) => {
  const caches = ['--cache2', 'name=default,items=100', '--cache2', 'name=he said "a\\,b",items=7']
  const args = ['-p', '2', ...http, '--stats', '127.0.0.1:0', ...caches, app('counter.mjs')]
  const master = await run(t, args).serving(2)
  for (let i = 0; i < 5; i++) await get({ port: master.port() })
  const stats = await until('all five are counted', async () => {
    const now = await master.stats()
    return now.workers.reduce((sum, { requests }) => sum + requests, 0) === 5 && now
  })
  assert.equal(Object.keys(stats).join(' '), topKeys)
  assert.equal(stats.pid, master.pid)
  assert.deepEqual(
    stats.workers.map(({ id, accepting, status, respawn_count }) => [id, accepting, status, respawn_count]),
    [
      [1, 1, 'idle', 1],
      [2, 1, 'idle', 1],
    ],
  )
  for (const worker of stats.workers) assert.equal(Object.keys(worker).join(' '), workerKeys)
  for (const cache of stats.caches) assert.equal(Object.keys(cache).join(' '), cacheKeys)
  assert.deepEqual(
    stats.caches.map(({ name, items }) => [name, items]),
    [
      ['default', 1],
      ['he said "a,b"', 0],
    ],
  )
  assert.ok(stats.locks.some((lock) => lock.cache_default === 0))
  assert.deepEqual(
    stats.sockets.map(({ name }) => name),
    [`127.0.0.1:${master.port()}`],
  )
  JSON.stringify(stats, (key, value: unknown) => {
    assert.ok(typeof value !== 'number' || Number.isSafeInteger(value), key)
    assert.notEqual(value, null, key)
    return value
  })
})

test('a document without caches has an empty list of them', async (t) => {
  const master = await run(t, [...http, '--stats', '127.0.0.1:0', app('fetch.mjs')]).serving(1)
  assert.deepEqual((await master.stats()).caches, [])
})

test('a unix socket and port 0 of every address serve it too', async (t) => {
  const path = join(folder(t), 'stats.sock')
  const unix = await run(t, [...http, '--stats', path, app('fetch.mjs')]).serving(1)
  assert.equal((await unix.stats()).pid, unix.pid)
  const tcp = await run(t, [...http, '--stats', ':0', app('fetch.mjs')]).serving(1)
  assert.equal((await tcp.stats()).pid, tcp.pid)
})

test('an abstract name is exactly that name, so that uwsgitop finds it', async (t) => {
  const python =
    'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect("\\0" + sys.argv[1]); f = s.makefile(); print(f.read())'
  if (spawnSync('python3', ['-c', '']).status !== 0) return t.skip('python3 is missing: Node pads abstract names')
  const name = `uwshm-${process.pid}`
  const master = await run(t, [...http, '--stats', `@${name}`, app('fetch.mjs')]).serving(1)
  const { stdout, stderr } = spawnSync('python3', ['-c', python, name], { encoding: 'utf8' })
  assert.equal((JSON.parse(stdout || stderr) as StatsDocument).pid, master.pid)
})

test('a client that sends, or hangs up, or asks in HTTP does no harm', async (t) => {
  const master = await run(t, [...http, '--stats', '127.0.0.1:0', app('fetch.mjs')]).serving(1)
  const [, port] = await master.line(/Stats server enabled on .*:(\d+)/)
  const where = { host: '127.0.0.1', port: Number(port) }
  for (let i = 0; i < 50; i++)
    connect(where, function (this: Socket) {
      this.resetAndDestroy()
    }).on('error', () => {})
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connect(where)
    let all = ''
    socket.setEncoding('utf8').on('data', (part: string) => {
      all += part
    })
    socket.on('end', () => resolve(all)).on('error', reject)
    socket.end(`GET / HTTP/1.1\r\n\r\n${'x'.repeat(100_000)}`)
  })
  assert.equal((JSON.parse(text) as StatsDocument).pid, master.pid)
})
