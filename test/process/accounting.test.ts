// Every request is counted once, with the bytes that its client got, whichever way
// it ends. The client is a bare socket: it knows what it sent and what came.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect as tls } from 'node:tls'
import { type Accounts, accountsOf, type Figures } from '../figures.ts'
import { app, folder, run, until } from '../harness.ts'

interface Served {
  port: number
  accounts: Accounts
}

async function serve(t: TestContext, ...options: string[]): Promise<Served> {
  const master = run(t, [
    '--http-socket',
    '127.0.0.1:0',
    '--cache2',
    'name=c,items=9',
    ...options,
    app('accounted.mjs'),
  ])
  const accounts = await accountsOf(t, master)
  return { port: master.port(), accounts }
}

async function serveItself(t: TestContext, ...what: string[]): Promise<Served> {
  const master = run(t, [app('accounted-server.mjs'), '--', ...what])
  const accounts = await accountsOf(t, master)
  const [, port] = await master.line(/listens at port (\d+)/)
  return { port: Number(port), accounts }
}

function open(t: TestContext, port: number): Socket & { received: string } {
  const socket = Object.assign(connect({ host: '127.0.0.1', port }), { received: '' })
  socket.on('error', () => {}).setEncoding('latin1')
  socket.on('data', (part: string) => {
    socket.received += part
  })
  t.after(() => socket.destroy())
  return socket
}

/** What comes back for these bytes until the server ends the connection. */
async function talk(t: TestContext, port: number, ...parts: string[]): Promise<string> {
  const socket = open(t, port)
  for (const part of parts) socket.write(part)
  await once(socket, 'close')
  return socket.received
}

function ask(path: string, { method = 'GET', headers = '', body = '', last = false } = {}): string {
  return `${method} ${path} HTTP/1.1\r\nHost: a\r\n${headers}${last ? 'Connection: close\r\n' : ''}\r\n${body}`
}
const bodyOf = (size: number) => ({ method: 'POST', headers: `Content-Length: ${size}\r\n` })
const chunked = { method: 'POST', headers: 'Transfer-Encoding: chunked\r\n' }
const noFaults = { exceptions: 0, readErrors: 0, writeErrors: 0 }

const ordinary = [
  ask('/hello'),
  ask('/hello', { method: 'HEAD' }),
  ask('/not-modified'),
  ask('/parts'),
  ask('/echo', { ...chunked, body: '5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n' }),
  ask('/echo', { ...bodyOf(5), headers: 'Content-Length: 5\r\nExpect: 100-continue\r\n', body: 'hello' }),
  ask('/hints'),
  ask('/read', { ...bodyOf(3), body: 'abc' }),
  ask('/hello', { headers: 'Connection: keep-alive\r\nUpgrade: h2c\r\n' }),
]

test('requests of every kind on one kept connection, one after the other, count with every byte', async (t) => {
  const { port, accounts } = await serve(t, '--threads', '1')
  const socket = open(t, port)
  for (const [index, request] of ordinary.entries()) {
    socket.write(request)
    await accounts.settled(index + 1)
  }
  socket.write(ask('/hello', { last: true }))
  await once(socket, 'close')
  const tx = socket.received.length
  assert.match(socket.received, /HTTP\/1.1 100 Continue\r\n/)
  assert.match(socket.received, /HTTP\/1.1 103 Early Hints\r\n/)
  await accounts.become({ requests: 10, tx, ...noFaults })
  assert.equal(((await accounts.workers()) as [Figures])[0].overflows, 0, 'one core is enough for one at a time')
})

test('the same requests pipelined, all at once and many times, count the same', async (t) => {
  const { port, accounts } = await serve(t)
  const times = 30
  const all = [...Array.from({ length: times }, () => ordinary).flat(), ask('/hello', { last: true })]
  const received = await talk(t, port, all.join(''))
  const requests = times * ordinary.length + 1
  await accounts.become({ requests, tx: received.length, ...noFaults })
})

test('pipelined requests whose socket is destroyed midway end with it, also those that still waited', async (t) => {
  const { port, accounts } = await serve(t, '--threads', '4')
  const socket = open(t, port)
  socket.write(ask('/hello'))
  await accounts.settled(1)
  socket.write(ask('/hang') + ask('/hello').repeat(8))
  await until('nine are in flight', async () => (await accounts.inFlight()) === 9)
  const [worker] = (await accounts.workers()) as [Figures]
  assert.equal(worker.overflows, 5)
  assert.ok(worker.cores.every(({ inRequest }) => inRequest === 1))
  socket.destroy()
  const tx = socket.received.length
  await accounts.become({ requests: 10, tx, exceptions: 0, readErrors: 0, writeErrors: 9 })
})

test('a client that leaves before, within or after its body, or within the answer, is one request with the fault it is', async (t) => {
  const { port, accounts } = await serve(t)
  const leave = async (request: string) => {
    const socket = open(t, port)
    socket.write(request)
    await until('it is in flight', async () => (await accounts.inFlight()) === 1)
    socket.destroy()
  }
  const faults = async (count: number) => {
    const { requests, readErrors, writeErrors, exceptions } = await accounts.settled(count)
    return { requests, readErrors, writeErrors, exceptions }
  }
  await leave(ask('/read', bodyOf(100)))
  assert.deepEqual(await faults(1), { requests: 1, readErrors: 1, writeErrors: 0, exceptions: 0 })
  await leave(ask('/read', { ...bodyOf(100), body: 'half' }))
  assert.deepEqual(await faults(2), { requests: 2, readErrors: 2, writeErrors: 0, exceptions: 0 })
  await leave(ask('/hang', { ...bodyOf(4), body: 'full' }))
  assert.deepEqual(await faults(3), { requests: 3, readErrors: 2, writeErrors: 1, exceptions: 0 })
  await leave(ask('/begun'))
  assert.deepEqual(await faults(4), { requests: 4, readErrors: 2, writeErrors: 2, exceptions: 0 })
})

test("an answer that the application breaks off is a request and nobody else's fault", async (t) => {
  const { port, accounts } = await serve(t)
  const { length: tx } = await talk(t, port, ask('/destroy'))
  await accounts.become({ requests: 1, tx, ...noFaults })
})

test('an answer that does not wait for the body counts once, however the rest of the body comes', async (t) => {
  const { port, accounts } = await serve(t)
  const early = ask('/early', { ...bodyOf(10), body: 'half.' })
  let tx = (await talk(t, port, `${early}other${ask('/hello', { last: true })}`)).length
  await accounts.become({ requests: 2, tx, ...noFaults })
  // The answer is out; then the body turns out to be none.
  tx += (await talk(t, port, ask('/early', { ...chunked, body: '3\r\nabc\r\n' }), 'no chunk\r\n')).length
  await accounts.become({ requests: 3, tx, ...noFaults })
})

for (const [name, request] of [
  ['an upgrade', ask('/chat?a=b', { headers: 'Connection: Upgrade\r\nUpgrade: echo\r\nX-A: b\r\n' })],
  ['CONNECT', ask('/chat?a=b', { method: 'CONNECT', headers: 'X-A: b\r\n' })],
] as const)
  test(`${name} is one request, in flight until its socket closes, with every byte of it`, async (t) => {
    const { port, accounts } = await serveItself(t, 'tunnels')
    const socket = open(t, port)
    socket.write(ask('/hello'))
    await accounts.settled(1)
    socket.write(`${request}first`)
    await until('the first words come back', () => socket.received.endsWith('first'))
    const [worker] = (await accounts.workers()) as [Figures]
    assert.deepEqual([worker.inFlight, worker.requests, worker.cores[0]?.inRequest], [1, 1, 1])
    assert.match(worker.cores[0]?.head ?? '', /^(GET|CONNECT)\n\/chat\?a=b\n1\.1\n127\.0\.0\.1\n\d+\n127\.0\.0\.1\n\d+/)
    socket.end('last')
    await once(socket, 'close')
    assert.match(socket.received, /firstlast$/)
    await accounts.become({ requests: 2, tx: socket.received.length, ...noFaults })
  })

const unreadable: [name: string, parts: string[], requests: number][] = [
  ['garbage', ['NONSENSE\r\n\r\n'], 1],
  ['headers that are too large', [ask('/', { headers: `A: ${'x'.repeat(20_000)}\r\n` })], 1],
  ['garbage after a good request', [`${ask('/hello')}NONSENSE\r\n\r\n`], 2],
  ['a chunk that is none', [ask('/hang', { ...chunked, body: 'no chunk\r\n' })], 1],
  ['a request without a host', ['GET / HTTP/1.1\r\n\r\n'], 1],
]

test('what cannot be read is one request; Node answers it as if we were not there, and each byte counts', async (t) => {
  const { port, accounts } = await serveItself(t)
  const plain = createServer((request, response) => {
    request.resume()
    if (request.url !== '/hang') response.end('hello')
  }).listen(0, '127.0.0.1')
  t.after(() => plain.close())
  await once(plain, 'listening')
  const undated = (text: string) => text.replace(/\r\nDate: .*/g, '')
  let requests = 0
  let tx = 0
  for (const [name, parts, count] of unreadable) {
    const received = await talk(t, port, ...parts)
    requests += count
    tx += received.length
    const totals = await accounts.settled(requests)
    assert.deepEqual([totals.requests, totals.tx, totals.exceptions], [requests, tx, 0], name)
    const expected = await talk(t, (plain.address() as AddressInfo).port, ...parts)
    assert.equal(undated(received), undated(expected), name)
  }
})

test('a request that is begun and not finished is one when its client ends, and when its time is over', async (t) => {
  const { port, accounts } = await serveItself(t, 'limits')
  const half = open(t, port)
  half.end('GET / HTTP/1.1\r\nHo')
  await once(half, 'close')
  let tx = half.received.length
  await accounts.become({ requests: 1, tx, exceptions: 0, readErrors: 1, writeErrors: 0 })
  const slow = await talk(t, port, 'GET / HTTP/1.1\r\nHo')
  assert.match(slow, /^HTTP\/1\.1 408 /)
  tx += slow.length
  await accounts.become({ requests: 2, tx, exceptions: 0, readErrors: 2, writeErrors: 0 })
  // The headers are there: it is a request already.
  tx += (await talk(t, port, ask('/hang', bodyOf(10)))).length
  await accounts.become({ requests: 3, tx, exceptions: 0, readErrors: 3, writeErrors: 0 })
})

test('connections that never ask, or are reset while they are kept, are no requests; their bytes count', async (t) => {
  const { port, accounts } = await serveItself(t, 'limits')
  const silent = await talk(t, port)
  assert.match(silent, /^HTTP\/1\.1 408 /, 'Node answers even a question that was not put')
  const kept = open(t, port)
  kept.write(ask('/hello'))
  await accounts.settled(1)
  kept.resetAndDestroy()
  const last = await talk(t, port, ask('/hello', { last: true }))
  const tx = silent.length + kept.received.length + last.length
  await accounts.become({ requests: 2, tx, ...noFaults })
})

test("the application's own answer to what cannot be read stays its own", async (t) => {
  const { port, accounts } = await serveItself(t, 'answers')
  const received = await talk(t, port, 'NONSENSE\r\n\r\n')
  assert.equal(received, 'HTTP/1.1 418 No\r\n\r\n')
  const tx = received.length
  await accounts.become({ requests: 1, tx, exceptions: 0, readErrors: 1, writeErrors: 0 })
})

test('what cannot be read and is not hung up on stays one request, however often Node complains of it', async (t) => {
  const { port, accounts } = await serveItself(t, 'ignores')
  const socket = open(t, port)
  socket.write('NONSENSE\r\n\r\n')
  await until('Node complains twice', () => socket.received.length >= 4)
  assert.equal(await accounts.inFlight(), 1)
  socket.destroy()
  const { requests, readErrors } = await accounts.settled(1)
  assert.deepEqual([requests, readErrors], [1, 1])
})

test('requests over TLS count as others do', async (t) => {
  const pem = join(folder(t), 'self.pem')
  const how = [
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=localhost',
    '-keyout',
    pem,
    '-out',
    `${pem}.cert`,
  ]
  if (spawnSync('openssl', ['req', ...how]).error) return t.skip('openssl is missing: it makes the certificate')
  appendFileSync(pem, readFileSync(`${pem}.cert`))
  const { port, accounts } = await serveItself(t, 'tls', pem)
  const socket = tls({ host: '127.0.0.1', port, rejectUnauthorized: false })
  let received = ''
  socket.setEncoding('latin1').on('data', (part: string) => {
    received += part
  })
  socket.write(ask('/hello') + ask('/hello'))
  await accounts.settled(2)
  socket.write('NONSENSE\r\n\r\n')
  await once(socket, 'close')
  const tx = received.length
  await accounts.become({ requests: 3, tx, exceptions: 0, readErrors: 1, writeErrors: 0 })
})

test('one core or many: each request has one while there is one, and all are counted', async (t) => {
  for (const [threads, overflows] of [
    [1, 5],
    [4, 2],
    [8, 0],
  ] as const) {
    const { port, accounts } = await serve(t, '--threads', String(threads))
    const all = await Promise.all(Array.from({ length: 6 }, () => talk(t, port, ask('/slow', { last: true }))))
    const tx = all.join('').length
    await accounts.become({ requests: 6, tx, ...noFaults })
    const [worker] = (await accounts.workers()) as [Figures]
    assert.equal(worker.overflows, overflows, `${threads} cores`)
    assert.equal(worker.cores.length, threads)
  }
})

test('a request tells its first line at once, even when it blocks its worker, and its headers soon after', async (t) => {
  const { port, accounts } = await serve(t)
  const head = async () => ((await accounts.workers()) as [Figures])[0].cores[0]!.head
  const first = /^GET\n\/(hang|block)\n1\.1\n127\.0\.0\.1\n\d+\n127\.0\.0\.1\n\d+/
  const hanging = open(t, port)
  hanging.write(ask('/hang', { headers: 'X-A: b\r\nX-A: c\r\n' }))
  const full = await until('its headers are told', async () => (await head())?.includes('X-A') && (await head()))
  assert.match(full, first)
  assert.ok(full.endsWith('\nHost\na\nX-A\nb\nX-A\nc'), full)
  hanging.destroy()
  await accounts.settled(1)
  assert.equal(await head(), null)

  open(t, port).write(ask('/block'))
  assert.match(await until('the blocking one is seen', head), first)
  await until('the event loop is told to have been late', async () => {
    const [{ delayMax }] = (await accounts.workers()) as [Figures]
    return delayMax >= 200_000 && delayMax < 400_000
  })
  await until('and on time again', async () => {
    const [{ delayMax, beatAge }] = (await accounts.workers()) as [Figures]
    return beatAge >= 0 && delayMax < 200_000
  })
})

test('whatever the application makes of its request, what the client sent is told', async (t) => {
  const { port, accounts } = await serve(t)
  const head = async () => ((await accounts.workers()) as [Figures])[0].cores[0]!.head
  const socket = open(t, port)
  socket.write(ask('/rewritten%0a?x', { headers: 'Authorization: secret\r\n' }))
  const full = await until('its headers are told', async () => (await head())?.includes('Host') && (await head()))
  assert.match(
    full,
    /^GET\n\/rewritten%0a\?x\n1\.1\n127\.0\.0\.1\n\d+\n127\.0\.0\.1\n\d+\nHost\na\nAuthorization\nsecret$/,
  )
  socket.destroy()
  await accounts.become({ requests: 1, tx: 0, exceptions: 0, readErrors: 0, writeErrors: 1 })
})

test('accounts outlive the worker: its successor goes on, and counts its own from 0', async (t) => {
  const { port, accounts } = await serve(t)
  const tx = (await talk(t, port, ask('/hello').repeat(6) + ask('/hello', { last: true }))).length
  await accounts.become({ requests: 7, tx, ...noFaults })
  const [{ pid }] = (await accounts.workers()) as [Figures]
  const hanging = open(t, port)
  hanging.write(ask('/hang'))
  await until('one is in flight', async () => (await accounts.inFlight()) === 1)
  process.kill(pid, 'SIGKILL')
  const successor = await until('it is replaced', async () => {
    const [worker] = (await accounts.workers()) as [Figures]
    return worker.pid !== pid && worker.accepting === 1 && worker
  })
  assert.deepEqual([successor.requests, successor.deltaRequests, successor.respawnCount], [7, 0, 2])
  const more = (await talk(t, port, ask('/hello', { last: true }))).length
  await accounts.become({ requests: 8, tx: tx + more, ...noFaults })
  assert.equal(((await accounts.workers()) as [Figures])[0].deltaRequests, 1)
})
