// `uwshm --connect-and-read ADDR`, against our own server and against bad ones.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { pretty } from '../../src/stats/read.ts'
import { app, folder, run, type StatsDocument } from '../harness.ts'

const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
const http = ['--http-socket', '127.0.0.1:0']

test('it reads from a port, a path, an abstract name and a URL, the very bytes', async (t) => {
  const path = join(folder(t), 'stats.sock')
  const name = `@uwshm-read-${process.pid}`
  for (const [where, ...more] of [[path], [name], ['127.0.0.1:0'], ['127.0.0.1:0', '--stats-http']]) {
    const master = await run(t, [...http, '--stats', where!, '--stats-min', ...more, app('fetch.mjs')]).serving(1)
    const [, bound] = await master.line(/Stats server enabled on (\S+)/)
    const { status, stdout, stderr } = await read(more.length > 0 ? `http://${bound}/` : bound!)
    assert.equal(status, 0, stderr)
    assert.doesNotMatch(stdout, /[\t\n]/)
    assert.equal((JSON.parse(stdout) as StatsDocument).pid, master.pid)
    if (where === '127.0.0.1:0' && more.length === 0)
      assert.equal((await read(bound!.replace('127.0.0.1', ''))).status, 0, 'no host is this one')
  }
})

test('at a terminal the document is laid out', async (t) => {
  if (spawnSync('script', ['--version']).status !== 0) return t.skip('script (Debian: bsdutils) is missing')
  const path = join(folder(t), 'stats.sock')
  const master = await run(t, [...http, '--stats', path, '--stats-min', app('fetch.mjs')]).serving(1)
  const command = `${process.execPath} ${cli} --connect-and-read ${path}`
  const { stdout } = spawnSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8', timeout: 20_000 })
  assert.match(stdout, /^\{\r\n\t"version": "/)
  assert.equal((JSON.parse(stdout) as StatsDocument).pid, master.pid)
})

test('what cannot be read is one sentence and status 1', async (t) => {
  const hangsUp = await listen(t, (socket) => socket.end())
  const resets = await listen(t, (socket) => socket.resetAndDestroy())
  const path = join(folder(t), 'nothing.sock')
  for (const [where, why] of [
    [path, /ENOENT/],
    ['127.0.0.1:1', /ECONNREFUSED/],
    [`@uwshm-nothing-${process.pid}`, /refused/],
    [`127.0.0.1:${hangsUp}`, /without a word/],
    [`127.0.0.1:${resets}`, /ECONNRESET/],
    [`http://127.0.0.1:${await listenHttp(t, 503)}/`, /status 503/],
  ] as const) {
    const { status, stdout, stderr } = await read(where)
    assert.equal(status, 1, where)
    assert.equal(stdout, '')
    assert.match(stderr, why)
    assert.match(stderr, /^uwshm: cannot read statistics from .*; give the address that --stats .* names\n$/)
  }
  for (const wrong of ['9191', 'https://localhost/', 'http://']) {
    const { status, stderr } = await read(wrong)
    assert.equal(status, 1, wrong)
    assert.match(stderr, /^uwshm: --connect-and-read: '.*' is not an address: .*\n$/)
  }
})

test('a server without end is left after five seconds', async (t) => {
  const started = performance.now()
  const port = await listen(t, (socket) => socket.write('{'))
  const { status, stdout, stderr } = await read(`127.0.0.1:${port}`)
  assert.deepEqual([status, stdout], [1, ''])
  assert.match(stderr, /no end after 5 seconds/)
  assert.ok(performance.now() - started < 9000)
})

test('laying out keeps every byte of sense: large numbers, empty lists, quotes; control characters are spelt', () => {
  const json = '{"a":[],"b":{},"n":9223372036854775807,"s":"a,\\"{}[]: \\\\","list":[1,2]}'
  assert.equal(
    pretty(json),
    '{\n\t"a": [],\n\t"b": {},\n\t"n": 9223372036854775807,\n\t"s": "a,\\"{}[]: \\\\",\n\t"list": [\n\t\t1,\n\t\t2\n\t]\n}',
  )
  assert.equal(pretty(pretty(json)), pretty(json))
  assert.equal(pretty('{"vars":["A=\x1b[31m"]}'), '{\n\t"vars": [\n\t\t"A=\\u001b[31m"\n\t]\n}')
  assert.equal(pretty('{"cwd":"/a"b"}'), pretty('{"cwd":"/a"b"}'), 'what is no JSON does no harm')
})

function read(where: string): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [cli, '--connect-and-read', where], { timeout: 20_000 })
  const result = { status: null as number | null, stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      result[name] += text
    })
  return new Promise((resolve) => child.on('close', (status) => resolve({ ...result, status })))
}

async function listen(t: TestContext, serve: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => serve(socket.on('error', () => {})))
  t.after(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

async function listenHttp(t: TestContext, status: number): Promise<number> {
  const server = createHttpServer((_, response) => void response.writeHead(status).end())
  t.after(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}
