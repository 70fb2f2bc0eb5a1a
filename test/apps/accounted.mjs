// Answers in every way that an account must get right; the path says which.
import { setTimeout } from 'node:timers/promises'
import { uwsgi } from 'uwshm'

const answers = {
  '/hello': (_, response) => response.end('hello'),
  '/begun': (request, response) => {
    request.on('aborted', () => response.destroy()) // as pipeline() does
    response.write('begun')
  },
  '/hang': () => {},
  '/throw': () => {
    throw new Error('thrown here')
  },
  '/throw-late': (_, response) => {
    response.write('begun')
    throw new Error('thrown here')
  },
  '/throw-after': (_, response) => {
    response.end('x'.repeat(10_000_000)) // more than goes out at once
    throw new Error('thrown here')
  },
  '/throw-with-headers': (_, response) => {
    response.setHeader('content-length', 4).setHeader('etag', 'x')
    response.statusMessage = 'Fine'
    throw new Error('thrown here')
  },
  '/timer': (_, response) => {
    response.end('soon')
    setImmediate(() => {
      throw new Error('thrown here')
    })
  },
  '/nobody-waits': (_, response) => {
    response.end('soon')
    void Promise.reject(new Error('thrown here'))
  },
  '/reject': async () => {
    await setTimeout(1)
    throw new Error('thrown here')
  },
  /** Fails when the client leaves before its body is there. */
  '/read': async (request, response) => {
    let size = 0
    for await (const chunk of request) size += chunk.length
    response.end(String(size))
  },
  '/echo': (request, response) => request.pipe(response),
  '/early': (_, response) => response.writeHead(413).end('too much'),
  '/not-modified': (_, response) => response.writeHead(304).end(),
  '/hints': (_, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' })
    response.end('hello')
  },
  '/parts': async (_, response) => {
    for (const part of ['one', 'two', 'three']) {
      response.write(part)
      await setTimeout(1)
    }
    response.end()
  },
  '/destroy': (_, response) => {
    response.write('begun')
    response.destroy()
  },
  '/slow': async (_, response) => {
    await setTimeout(30)
    response.end('hello')
  },
  '/block': (_, response) => {
    const end = performance.now() + 300
    while (performance.now() < end);
    response.end('at last')
  },
  /** How many came here is written where it survives. */
  '/counted': (_, response) => {
    uwsgi.cacheInc('begun')
    response.end('hello')
  },
  /** As a router does that is mounted at a path, and more rudely. */
  '/rewritten%0a?x': (request, response) => {
    request.method = 'OTHER'
    request.url = decodeURIComponent(request.url)
    request.rawHeaders = undefined
    response.req = undefined
  },
  '/calls': (_, response) => response.end(String(uwsgi.cacheNum('begun'))),
}

export default (request, response) => answers[request.url](request, response)
