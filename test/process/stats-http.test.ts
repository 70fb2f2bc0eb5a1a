// --stats-http, as node:http, curl, a browser and bare sockets ask it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { app, folder, get, type Master, run, type StatsDocument, until } from '../harness.ts'

test('GET and HEAD of any path get the document, and headers that the Prometheus exporter takes', async (t) => {
  const { master, port } = await start(t)
  for (const path of ['/', '/stats.json?a=b', '/metrics'])
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, body } = await get({ port, path, method })
      assert.equal(status, 200)
      assert.equal(headers['content-type'], 'application/json')
      assert.equal(headers.connection, 'close')
      assert.equal(headers['access-control-allow-origin'], undefined)
      if (method === 'HEAD') assert.equal(body, '')
      else assert.equal((JSON.parse(body) as StatsDocument).pid, master.pid)
      assert.ok(Number(headers['content-length']) > 100)
      if (method === 'GET') assert.equal(Number(headers['content-length']), Buffer.byteLength(body))
    }
})

test('HTTP/1.0 without a Host, as old clients speak it, is answered; over a unix socket too', async (t) => {
  const { port } = await start(t)
  assert.match(await talk({ port }, 'GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\n\{.*\}$/s)
  const path = join(folder(t), 'stats.sock')
  await start(t, path)
  assert.match(await talk({ path }, 'GET / HTTP/1.1\r\nHost: anything.example\r\n\r\n'), /^HTTP\/1\.1 200 OK/)
})

test('other methods are refused with what is allowed, and what is no HTTP with 400', async (t) => {
  const { port } = await start(t)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']) {
    const { status, headers, body } = await get({
      port,
      method,
      ...(method === 'POST' && { body: 'x'.repeat(300_000) }),
    })
    assert.equal(status, 405, method)
    assert.equal(headers.allow, 'GET, HEAD')
    assert.equal(body, 'only GET and HEAD are answered here\n')
  }
  for (const garbage of ['garbage\r\n\r\n', '\0\0\0\0', 'GET / HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n'])
    assert.match(await talk({ port }, garbage), /^HTTP\/1\.1 400 Bad Request\r\n/, JSON.stringify(garbage))
  assert.match(await talk({ port }, `GET / HTTP/1.1\r\nA: ${'x'.repeat(8200)}\r\n\r\n`), /^HTTP\/1\.1 431 /)
})

test('a web page that makes its own name mean this machine gets nothing', async (t) => {
  const { port } = await start(t)
  const statusFor = async (host: string) => {
    const answer = await talk({ port }, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    if (answer.startsWith('HTTP/1.1 403'))
      assert.match(answer, /\r\n\r\nthis server is for its own machine: .*localhost\n$/)
    return Number(answer.split(' ')[1])
  }
  for (const host of [
    '127.0.0.1',
    `127.0.0.1:${port}`,
    'localhost',
    'LocalHost:1',
    '[::1]',
    '[::1]:80',
    '10.1.2.3',
    '',
  ])
    assert.equal(await statusFor(host), 200, host)
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'a b',
  ])
    assert.equal(await statusFor(host), 403, host)
  // Whoever binds it to every address has other machines call it by name.
  const open = await start(t, ':0')
  assert.match(await talk({ port: open.port }, 'GET / HTTP/1.1\r\nHost: web1.example\r\n\r\n'), /^HTTP\/1\.1 200/)
})

test('a head that does not come within five seconds is not waited for', async (t) => {
  const { port } = await start(t)
  const started = performance.now()
  assert.equal(await talk({ port }, 'GET / HTTP/1.1\r\nHost:'), '')
  const took = performance.now() - started
  assert.ok(took > 4500 && took < 8000, `${took} ms`)
})

test('curl prints it', async (t) => {
  if (spawnSync('curl', ['--version']).status !== 0) return t.skip('curl is missing')
  const { master, port } = await start(t)
  const { stdout } = spawnSync('curl', ['-sSf', `http://localhost:${port}/`], { encoding: 'utf8' })
  assert.equal((JSON.parse(stdout) as StatsDocument).pid, master.pid)
})

async function start(t: TestContext, where = '127.0.0.1:0'): Promise<{ master: Master; port: number }> {
  const args = ['--http-socket', '127.0.0.1:0', '--stats', where, '--stats-http', app('fetch.mjs')]
  const master = await run(t, args).serving(1)
  const [, port] = await master.line(/Stats server enabled on .*?:?(\d*) fd/)
  return { master, port: Number(port) }
}

/** Sends, and reads until the other side ends or hangs up. */
async function talk(where: { port?: number; path?: string }, text: string): Promise<string> {
  let answer = ''
  let isOver = false
  const socket = connect({ host: '127.0.0.1', ...where } as { path: string })
  socket.setEncoding('latin1').on('data', (part: string) => {
    answer += part
  })
  socket
    .on('error', () => {})
    .on('close', () => {
      isOver = true
    })
  socket.write(Buffer.from(text, 'latin1'))
  await until('it hangs up', () => isOver)
  return answer
}
