// What an application's module may be:
//
//   export default (req, res) => …              a listener; Express and koa.callback() are
//   export default (request) => response        Fetch style
//   export default { fetch(request) { … } }     the same, as Hono has it
//   createServer(…).listen(8080)                it serves by itself

import type { RequestListener } from 'node:http'
import { pathToFileURL } from 'node:url'
import { type FetchHandler, fetchListener } from './fetch.ts'

/** The listener that the module exports, or null if it exports none. */
export async function loadApplication(path: string): Promise<RequestListener | null> {
  const module = (await import(pathToFileURL(path).href)) as { default?: unknown }
  return listenerOf(module.default)
}

export function listenerOf(exported: unknown): RequestListener | null {
  if (typeof exported === 'function')
    return exported.length >= 2 ? (exported as RequestListener) : fetchListener(exported as FetchHandler)
  if (typeof exported !== 'object' || exported === null) return null
  if ('fetch' in exported && typeof exported.fetch === 'function') {
    const application = exported as { fetch: FetchHandler }
    return fetchListener((request) => application.fetch(request))
  }
  // CommonJS made from a module: the default is one step further in.
  return '__esModule' in exported && 'default' in exported ? listenerOf(exported.default) : null
}
