// The request that a core is working on, as uWSGI shows it: `KEY=value` strings
// in the order in which its HTTP parser makes them, and an empty one at the end.
//
// A worker leaves the head of the request in shared memory, cut at some length,
// as lines:
//
//   method, url, version, remote address, remote port, local address, local port,
//   then name and value of each header in turn
//
// Whoever can read the statistics would read the credentials of every visitor
// (uWSGI's does publish them), so the values of some headers are not shown.

import { hostname } from 'node:os'

const secretHeaders = ['authorization', 'proxy-authorization', 'cookie', 'set-cookie']

/** Which headers' values stay hidden. */
export class Redaction {
  private readonly keys: Set<string>

  constructor(more: readonly string[]) {
    this.keys = new Set([...secretHeaders, ...more].map(keyOf))
  }

  hides(key: string): boolean {
    return this.keys.has(key)
  }
}

export function requestVars(head: string, redaction: Redaction): string[] {
  const [method, url, version, remoteAddress, remotePort, , localPort, ...headers] = head.split('\n')
  const [path, ...query] = (url ?? '').split('?')
  const known: [key: string, value: string | undefined][] = [
    ['REQUEST_METHOD', method],
    ['PATH_INFO', url && decoded(path!)],
    ['REQUEST_URI', url],
    ['QUERY_STRING', query.join('?')],
    ['SERVER_PROTOCOL', version && `HTTP/${version}`],
    ['SCRIPT_NAME', ''],
    ['SERVER_NAME', hostname()],
    ['SERVER_PORT', localPort],
    ['REMOTE_ADDR', remoteAddress],
    ['REMOTE_PORT', remotePort],
    ...fromHeaders(headers, redaction),
  ]
  // What the cut took away is left out.
  return [...known.filter(([, value]) => value !== undefined).map(([key, value]) => `${key}=${value}`), '']
}

/** A header that came several times is one, its values joined. The last may lack its value. */
function fromHeaders(lines: string[], redaction: Redaction): Map<string, string> {
  const vars = new Map<string, string>()
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const key = keyOf(lines[at]!)
    const value = lines[at + 1]!
    const before = vars.get(key)
    if (redaction.hides(key)) vars.set(key, '[redacted]')
    else vars.set(key, before === undefined ? value : `${before}, ${value}`)
  }
  return vars
}

/** As CGI spells a header. */
function keyOf(header: string): string {
  const key = header.toUpperCase().replaceAll('-', '_')
  return key === 'CONTENT_LENGTH' || key === 'CONTENT_TYPE' ? key : `HTTP_${key}`
}

function decoded(path: string): string {
  return path.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => Buffer.from(bytes.replaceAll('%', ''), 'hex').toString())
}
