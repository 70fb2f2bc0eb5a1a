// TypeScript: natively, or through tsx.
import type { IncomingMessage, ServerResponse } from 'node:http'

export default (request: IncomingMessage, response: ServerResponse): void => {
  response.end(`typed ${request.url satisfies string | undefined}`)
}
