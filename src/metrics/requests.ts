// Counts the requests of this worker, whichever framework serves them: Node
// itself announces every request of every http server.

import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { native } from '../native.ts'

/** Responses under way. */
export const running = new Set<ServerResponse>()

export function countRequests(): void {
  subscribe('http.server.request.start', (message) => {
    const { response } = message as { request: IncomingMessage; response: ServerResponse }
    native.requestStarted()
    running.add(response)
    // Comes once, whether the response was finished or the client went away.
    response.once('close', () => {
      running.delete(response)
      native.requestEnded()
    })
  })
}
