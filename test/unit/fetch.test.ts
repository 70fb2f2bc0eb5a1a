// The bridge between Node's http and Fetch-style applications, over real sockets.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { listenerOf } from '../../src/app.ts'
import type { FetchHandler } from '../../src/fetch.ts'
import { get, until } from '../harness.ts'

async function serve(t: TestContext, handler: FetchHandler): Promise<number> {
  const server = createServer(listenerOf({ fetch: handler })!).listen(0, '127.0.0.1')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** The answer to bytes as they are. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port }).setEncoding('latin1')
  let text = ''
  socket.on('data', (part: string) => {
    text += part
  })
  socket.end(bytes)
  await once(socket, 'close')
  return text
}

test('a request arrives with its method, address, headers and body', async (t) => {
  const port = await serve(t, async (request) => {
    const { pathname, search, host } = new URL(request.url)
    return Response.json([request.method, pathname, search, host, request.headers.get('x-two'), await request.text()])
  })
  const outgoing = request({ port, method: 'POST', path: '/a/b?c=d', headers: { 'x-two': ['1', '2'] } })
  outgoing.end('the body')
  const [incoming] = (await once(outgoing, 'response')) as [AsyncIterable<Buffer>]
  let text = ''
  for await (const part of incoming) text += String(part)
  assert.deepEqual(JSON.parse(text), ['POST', '/a/b', '?c=d', `localhost:${port}`, '1, 2', 'the body'])
})

test('a path that looks like a host stays a path', async (t) => {
  const port = await serve(t, (request) => new Response(request.url))
  assert.equal((await get({ port, path: '//evil.example/x' })).body, `http://127.0.0.1:${port}//evil.example/x`)
})

test('cookies stay apart, HEAD has no body, an empty status may have none', async (t) => {
  const port = await serve(t, (request) => {
    if (new URL(request.url).pathname === '/none') return new Response(null, { status: 204 })
    const headers = new Headers({ 'x-a': 'b' })
    headers.append('set-cookie', 'a=1; Path=/')
    headers.append('set-cookie', 'b=2')
    return new Response('text', { status: 201, headers })
  })
  const answer = await get({ port })
  assert.equal(answer.status, 201)
  assert.equal(answer.body, 'text')
  assert.deepEqual(answer.headers['set-cookie'], ['a=1; Path=/', 'b=2'])
  const head = await get({ port, method: 'HEAD' })
  assert.deepEqual([head.status, head.body, head.headers['x-a']], [201, '', 'b'])
  assert.equal((await get({ port, path: '/none' })).status, 204)
})

test('bodies stream both ways at once', async (t) => {
  const port = await serve(t, (request) => new Response(request.body))
  const outgoing = request({ port, method: 'POST' })
  outgoing.write('one')
  const [incoming] = (await once(outgoing, 'response')) as [NodeJS.ReadableStream]
  const parts = incoming[Symbol.asyncIterator]()
  assert.equal(String((await parts.next()).value), 'one')
  outgoing.write('two')
  assert.equal(String((await parts.next()).value), 'two')
  outgoing.end()
  assert.equal((await parts.next()).done, true)
})

test('a large body comes back whole, and is not taken faster than it is read', async (t) => {
  let most = 0
  const port = await serve(t, async (request) => {
    const reader = request.body!.getReader()
    let size = 0
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      size += part.value.byteLength
      most = Math.max(most, part.value.byteLength)
      await new Promise((resolve) => setImmediate(resolve))
    }
    return new Response('x'.repeat(size))
  })
  const body = 'x'.repeat(5_000_000)
  assert.equal((await get({ port, method: 'POST', body })).body, body)
  assert.ok(most <= 1 << 20)
})

test('a producer waits for a client that does not read', async (t) => {
  let pulled = 0
  const chunk = new Uint8Array(65536)
  const port = await serve(t, () => {
    return new Response(
      new ReadableStream({
        pull(controller) {
          pulled++
          controller.enqueue(chunk)
        },
      }),
    )
  })
  const outgoing = request({ port }).end()
  const [incoming] = (await once(outgoing, 'response')) as [NodeJS.ReadableStream]
  incoming.pause()
  let before = -1
  await until('it stops producing', async () => {
    const isStill = pulled === before
    before = pulled
    await new Promise((resolve) => setTimeout(resolve, 100))
    return isStill && pulled === before
  })
  assert.ok(pulled < 1000, `${pulled} chunks`)
  outgoing.destroy()
})

test('a client that leaves aborts the signal and cancels the body', async (t) => {
  let isAborted = false
  let isCancelled = false
  const port = await serve(t, (request) => {
    request.signal.addEventListener('abort', () => {
      isAborted = true
    })
    return new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode('begun')),
        cancel() {
          isCancelled = true
        },
      }),
    )
  })
  const outgoing = request({ port }).end()
  await once(outgoing, 'response')
  outgoing.on('error', () => {}).destroy()
  await until('the application hears of it', () => isAborted && isCancelled)
})

test('a request that was answered is not aborted', async (t) => {
  let signal: AbortSignal | undefined
  const port = await serve(t, (request) => {
    signal = request.signal
    return new Response('done')
  })
  await get({ port })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(signal?.aborted, false)
})

test('a handler that throws answers 500, and the next request is served', async (t) => {
  const quiet = t.mock.method(console, 'error', () => {})
  let calls = 0
  const port = await serve(t, () => {
    if (calls++ === 0) throw new Error('oops')
    return new Response('fine')
  })
  assert.equal((await get({ port })).status, 500)
  assert.match(String(quiet.mock.calls[0]?.arguments[0]), /oops/)
  assert.equal((await get({ port })).body, 'fine')
})

test('a body that fails halfway ends the connection, so that nobody takes it for whole', async (t) => {
  t.mock.method(console, 'error', () => {})
  const port = await serve(t, () => {
    let parts = 0
    return new Response(
      new ReadableStream({
        pull(controller) {
          if (parts++ === 0) controller.enqueue(new TextEncoder().encode('half'))
          else controller.error(new Error('broken'))
        },
      }),
    )
  })
  await assert.rejects(get({ port }), { code: 'ECONNRESET' })
})

test('what a Request cannot be is answered with 400', async (t) => {
  const port = await serve(t, () => new Response('never'))
  assert.match(await raw(port, 'TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 400 /)
  assert.match(await raw(port, 'GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 400 /)
})

test('an application is recognised in each of its forms', () => {
  const listener = (_request: unknown, _response: unknown) => {}
  assert.equal(typeof listenerOf(listener), 'function')
  assert.equal(typeof listenerOf({ __esModule: true, default: listener }), 'function')
  assert.equal(typeof listenerOf(() => new Response('')), 'function')
  assert.equal(typeof listenerOf({ fetch: () => new Response('') }), 'function')
  for (const none of [undefined, null, 3, {}, { default: listener }]) assert.equal(listenerOf(none), null)
})
