// The statistics server, over each kind of socket, with clumsy clients, and with
// workers that do not answer. (What the document says: contract/stats.test.ts.)

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { app, folder, run, type StatsDocument, until } from '../harness.ts'

const http = ['--http-socket', '127.0.0.1:0']

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

test('workers that are stopped do not hold it up, and it tells that their loops stand still', async (t) => {
  // In its long form a document of 2 MB.
  const [count, cores] = process.env.UWSHM_FULL ? [64, 128] : [4, 8]
  const many = ['-p', String(count), '--threads', String(cores)]
  const master = await run(t, [...many, ...http, '--stats', '127.0.0.1:0', app('fetch.mjs')]).serving(count)
  await until('every loop turns', async () => (await master.stats()).workers.every(({ beat_age }) => beat_age >= 0))
  for (const pid of master.pidsOfReady()) process.kill(pid, 'SIGSTOP')
  const took: number[] = []
  const { workers } = await until('their beats grow old', async () => {
    const asked = performance.now()
    const stats = await master.stats()
    took.push(performance.now() - asked)
    return stats.workers.every(({ beat_age }) => beat_age > 1500) && stats
  })
  took.sort((a, b) => a - b)
  t.diagnostic(
    `${count} workers with ${cores} cores: served in ${took[took.length >> 1]!.toFixed(1)} ms, at worst ${took.at(-1)!.toFixed(1)}`,
  )
  assert.ok(took[took.length >> 1]! < 20, `${took.join(' ')} ms`)
  assert.deepEqual(
    workers.map(({ status, accepting }) => [status, accepting]),
    Array.from({ length: count }, () => ['idle', 1]),
  )
  for (const pid of master.pidsOfReady()) process.kill(pid, 'SIGCONT')
  await until('they turn again', async () => (await master.stats()).workers.every(({ beat_age }) => beat_age < 1500))
})

test('an address that other machines can reach is warned of, a local one is not', async (t) => {
  const warning =
    /WARNING: the stats server on \S+ answers whoever can reach this machine, .* give --stats an address of/
  const open = await run(t, [...http, '--stats', ':0', app('fetch.mjs')]).serving(1)
  assert.match(open.log, warning)
  for (const where of ['localhost:0', join(folder(t), 's')]) {
    const local = await run(t, [...http, '--stats', where, app('fetch.mjs')]).serving(1)
    assert.doesNotMatch(local.log, /WARNING/)
  }
})
