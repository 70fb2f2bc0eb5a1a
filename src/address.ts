// Where to listen, as users write it.
//
//   127.0.0.1:8080   [::1]:8080   localhost:0     one address
//   :8080                                         every address
//   /run/app.sock    ./app.sock                   a unix socket
//   @app                                          an abstract one, exactly \0app
//
// As in uWSGI a colon makes it TCP. A bare number is a file name to uWSGI and
// a mistake nearly always; we refuse it.

export type Address =
  | { kind: 'tcp'; host: string; port: number }
  /** An abstract name begins with NUL. */
  | { kind: 'unix'; path: string }

/** Bytes of a unix address; a file's path has a NUL at its end. */
const longestPath = 107

export function readAddress(text: string): Address | null {
  if (text.startsWith('@') || text.startsWith('\0')) return unix(`\0${text.slice(1)}`)
  const colon = text.lastIndexOf(':')
  if (colon < 0 || text.startsWith('/') || text.startsWith('./')) return /^\d*$/.test(text) ? null : unix(text)

  const port = text.slice(colon + 1)
  const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) return null
  const isBareIpv6 = host.includes(':') && !text.startsWith('[')
  return isBareIpv6 ? null : { kind: 'tcp', host, port: Number(port) }
}

function unix(path: string): Address | null {
  const isNamed = path.length > (path.startsWith('\0') ? 1 : 0)
  return isNamed && Buffer.byteLength(path) <= longestPath ? { kind: 'unix', path } : null
}

export function writeAddress(address: Address): string {
  if (address.kind === 'unix') return address.path.replace(/^\0/, '@')
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return `${host}:${address.port}`
}
