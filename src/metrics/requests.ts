// Counts the requests of this worker, whichever framework serves them: Node
// itself announces every request of every http server.

import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { native } from '../native.ts'

/** Responses under way. */
export const running = new Set<ServerResponse>()

export function countRequests(): void {
  const free = Array.from({ length: native.coreCount() }, (_, core) => core).reverse()
  subscribe('http.server.request.start', (message) => {
    const { request, response } = message as { request: IncomingMessage; response: ServerResponse }
    const core = free.pop() ?? -1
    const startedAt = native.requestStarted(core, `${request.method}\n${request.url}`)
    running.add(response)
    // Comes once, whether the response was finished or the client went away.
    response.once('close', () => {
      running.delete(response)
      if (core >= 0) free.push(core)
      native.requestEnded(core, startedAt, 0, 0)
    })
  })
}
