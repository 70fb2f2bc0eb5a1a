// What an application's module may be:
//
//   export default (req, res) => …              a listener; Express and koa.callback() are
//   export default (request) => response        Fetch style
//   export default { fetch(request) { … } }     the same, as Hono has it
//   createServer(…).listen(8080)                it serves by itself
//
// What an exported handler throws, or rejects with, costs its own request and no
// other: it is told, counted and answered. Elsewhere Node's rules stand.

import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { pathToFileURL } from 'node:url'
import { type FetchHandler, fetchListener } from './fetch.ts'
import { coreOf } from './metrics/cores.ts'
import { native } from './native.ts'

/** The listener that the module exports, or null if it exports none. */
export async function loadApplication(path: string): Promise<RequestListener | null> {
  const module = (await import(pathToFileURL(path).href)) as { default?: unknown }
  return listenerOf(module.default)
}

export function listenerOf(exported: unknown): RequestListener | null {
  if (typeof exported === 'function')
    return guarded(exported.length >= 2 ? (exported as Listener) : fetchListener(exported as FetchHandler))
  if (typeof exported !== 'object' || exported === null) return null
  if ('fetch' in exported && typeof exported.fetch === 'function') {
    const application = exported as { fetch: FetchHandler }
    return guarded(fetchListener((request) => application.fetch(request)))
  }
  // CommonJS made from a module: the default is one step further in.
  return '__esModule' in exported && 'default' in exported ? listenerOf(exported.default) : null
}

type Listener = (this: Server, request: IncomingMessage, response: ServerResponse) => unknown

function guarded(listener: Listener): RequestListener {
  return function (this: Server, request, response) {
    try {
      const outcome = listener.call(this, request, response)
      if (!(outcome instanceof Promise)) return
      outcome.catch((error: unknown) => {
        // The client has gone, and most of what fails then fails because of it: nobody is left to be told.
        const isAborted = request.socket.destroyed && !response.writableFinished
        if (!isAborted) failed(response, error)
      })
    } catch (error) {
      failed(response, error)
    }
  }
}

function failed(response: ServerResponse, error: unknown): void {
  native.exceptionRaised(coreOf(response))
  console.error(error)
  if (response.writableEnded) return // what was answered was whole
  if (response.headersSent) return void response.destroy()
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  const reason = 'Internal Server Error'
  response.writeHead(500, reason, { 'content-type': 'text/plain' }).end(`${reason}\n`)
}
