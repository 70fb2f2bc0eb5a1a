// What the statistics server answers in HTTP: the document at every path, as
// `Content-Type: application/json` to the letter, for the Prometheus exporter
// compares it so. (uWSGI takes anything for a request, and opens the document to
// every web page with `Access-Control-Allow-Origin: *`; we send no such header.)

import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'

interface Answer {
  status: number
  headers: OutgoingHttpHeaders
  body: Buffer
}

export function httpAnswer(
  { method, headers }: IncomingMessage,
  isForLocals: boolean,
  document: () => Buffer | null,
): Answer {
  if (method !== 'GET' && method !== 'HEAD') return refusal(405, 'only GET and HEAD are answered here', 'GET, HEAD')
  if (isForLocals && !isOurs(headers.host))
    return refusal(403, 'this server is for its own machine: call it by an IP address or as localhost')
  const body = document()
  if (body === null) return refusal(500, 'the statistics could not be put together; the log of the master says why')
  return { status: 200, headers: { 'Content-Type': 'application/json' }, body }
}

/** A web page can make its own name mean 127.0.0.1 (DNS rebinding), and read what we answer to it; the name gives it away. */
function isOurs(host: string | undefined): boolean {
  const name = host?.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1')
  return !name || name.toLowerCase() === 'localhost' || isIP(name) !== 0
}

function refusal(status: number, sentence: string, allow?: string): Answer {
  const headers = { 'Content-Type': 'text/plain', ...(allow && { Allow: allow }) }
  return { status, headers, body: Buffer.from(`${sentence}\n`) }
}
