// A Fetch-style application behind Node's http: a Request is made of what came
// in, a Response is written out. Bodies stream both ways and wait for each
// other; a client that leaves aborts `request.signal`. What the handler throws is
// thrown on (app.ts).

import type { IncomingMessage, ServerResponse } from 'node:http'

export type FetchHandler = (request: Request) => Response | Promise<Response>

export function fetchListener(handler: FetchHandler) {
  return (incoming: IncomingMessage, outgoing: ServerResponse) => answer(handler, incoming, outgoing)
}

async function answer(handler: FetchHandler, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  let request: Request
  try {
    request = requestOf(incoming, outgoing)
  } catch {
    // A host or a method that a Request cannot have (TRACE, `Host: a b`).
    outgoing.writeHead(400).end()
    return
  }
  await send(await handler(request), incoming, outgoing)
}

function requestOf(incoming: IncomingMessage, outgoing: ServerResponse): Request {
  const { method = 'GET', headersDistinct, url = '/', headers } = incoming
  const departure = new AbortController()
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) departure.abort(new DOMException('the client has gone', 'AbortError'))
  })
  const scheme = 'encrypted' in incoming.socket ? 'https' : 'http'
  // Put together, not resolved: `//elsewhere/` is a path here, no other host.
  const whole = url.startsWith('/') ? `${scheme}://${headers.host ?? 'localhost'}${url}` : new URL(url).href
  const hasBody = method !== 'GET' && method !== 'HEAD'
  const pairs = Object.entries(headersDistinct).flatMap(([name, values]) => {
    return (values ?? []).map((value) => [name, value] as [string, string])
  })
  return new Request(whole, {
    method,
    headers: pairs,
    signal: departure.signal,
    ...(hasBody && { body: bodyOf(incoming), duplex: 'half' }),
  })
}

/** The request's body, read no faster than the application takes it. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let isOver = false
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const end = (finish: () => void) => {
          if (!isOver) finish()
          isOver = true
        }
        incoming.pause()
        incoming.on('data', (chunk: Buffer) => {
          if (isOver) return
          controller.enqueue(new Uint8Array(chunk))
          if ((controller.desiredSize ?? 0) <= 0) incoming.pause()
        })
        incoming.once('end', () => end(() => controller.close()))
        incoming.once('error', (error) => end(() => controller.error(error)))
        incoming.once('close', () =>
          end(() => controller.error(new Error('the client left before its body was complete'))),
        )
      },
      pull: () => void incoming.resume(),
      cancel() {
        isOver = true // Node drops the rest once the response is out
      },
    },
    { highWaterMark: 65536, size: (chunk) => chunk.byteLength },
  )
}

async function send(response: Response, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const headers: Record<string, string | string[]> = Object.fromEntries(response.headers)
  const cookies = response.headers.getSetCookie()
  if (cookies.length > 0) headers['set-cookie'] = cookies
  if (response.statusText) outgoing.writeHead(response.status, response.statusText, headers)
  else outgoing.writeHead(response.status, headers)

  if (response.body === null || incoming.method === 'HEAD') {
    await response.body?.cancel()
    outgoing.end()
    return
  }
  const reader = response.body.getReader()
  const leave = () => void reader.cancel().catch(() => {})
  outgoing.once('close', leave)
  for (let part = await reader.read(); !part.done; part = await reader.read())
    if (!outgoing.write(part.value)) await drained(outgoing)
  outgoing.off('close', leave)
  outgoing.end()
}

/** Until the client takes more, or is gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      outgoing.off('drain', done).off('close', done)
      resolve()
    }
    if (outgoing.destroyed) return resolve()
    outgoing.on('drain', done).on('close', done)
  })
}
