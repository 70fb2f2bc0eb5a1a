// Counts the requests of this worker, whichever framework serves them: Node
// itself announces every request of every http server, and every answer that is
// out. What it does not announce:
//
// - An answer that never gets out. It ends with its socket (Node closes only the
//   one that it was writing, not those which wait behind it).
// - Upgrades, CONNECT, and what cannot be read as a request. The server's own
//   events tell of these. Such a request takes over its socket, until that closes.
//   (A CONNECT that the application has no listener for is hung up on in silence:
//   nothing tells, nothing is counted. Nor is HTTP/2, which has events of its own.)
//
// Bytes are differences of what was written to a socket: each is counted once,
// with the request that ends next on it, or at its close.

import { subscribe } from 'node:diagnostics_channel'
import type { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server, Socket } from 'node:net'
import { enter, enterAlone, leave, openCores, type Place, sent } from './cores.ts'
import { type Fault, Lines } from './row.ts'

const connectionKey = Symbol('uwshm.connection')
type CountedSocket = Socket & { [connectionKey]?: Connection }

interface Announcement {
  request: IncomingMessage
  response: ServerResponse
  socket: CountedSocket
}

let isCounting = false

export function countRequests(): void {
  isCounting = openCores()
  if (!isCounting) return
  subscribe('http.server.request.start', (message) => {
    const { request, response, socket } = message as Announcement
    connectionOf(socket).begin(request, response)
  })
  subscribe('http.server.response.finish', (message) => {
    const { response, socket } = message as Announcement
    socket[connectionKey]?.finished(response)
  })
}

const watched = new WeakSet<Server>()

/** Sees the events that `server` raises for what Node does not announce. They are only seen: a listener of ours would change what Node does. */
export function watchServer(server: Server): void {
  if (!isCounting || watched.has(server) || !('requestTimeout' in server)) return
  watched.add(server)
  const emit: EventEmitter['emit'] = server.emit
  // This is called for every request, too: named parameters cost nothing there, a list of the rest does.
  server.emit = function (this: Server, event: string | symbol, first?: unknown, second?: unknown): boolean {
    if (event === 'request') return emit.call(this, event, first, second)
    if (event === 'upgrade' || event === 'connect') connectionOf(second as CountedSocket).takenOver(first)
    else if (event === 'clientError') connectionOf(second as CountedSocket).failed(first)
    // biome-ignore lint/complexity/noArguments: V8 hands these on without making a list of them
    return Reflect.apply(emit, this, arguments) as boolean
  }
}

function connectionOf(socket: CountedSocket): Connection {
  return (socket[connectionKey] ??= new Connection(socket))
}

/** What we know of a socket. Requests on it may be pipelined: they are answered in the order they came. */
class Connection {
  private readonly socket: CountedSocket
  private readonly addresses: string
  /** What follows the url in the head of nearly every request, put together once. */
  private readonly rest: Lines
  private written = 0
  private first: Place | null = null
  private last: Place | null = null
  /** The latest request, if it was answered before its body was there. */
  private unread: IncomingMessage | null = null
  /** The request that has taken over the socket. */
  private owner: Place | null = null
  private faultOfOwner: Fault = 0

  constructor(socket: CountedSocket) {
    const { remoteAddress = '', remotePort = '', localAddress = '', localPort = '' } = socket
    this.socket = socket
    this.addresses = `${remoteAddress}\n${remotePort}\n${localAddress}\n${localPort}`
    this.rest = new Lines(`1.1\n${this.addresses}`)
    // Before Node's own listener, by which the application may hear of it and destroy the response.
    socket.prependListener('close', closed)
  }

  begin(request: IncomingMessage, response: ServerResponse): void {
    const rest = request.httpVersionMinor === 1 ? this.rest : new Lines(`${request.httpVersion}\n${this.addresses}`)
    const place = enter(request, response, rest)
    if (this.first === null) this.first = place
    else this.last!.next = place
    this.last = place
  }

  finished(response: ServerResponse): void {
    const place = this.first
    if (place?.response !== response) return
    this.first = place.next
    this.unread = place.request!.complete ? null : place.request
    leave(place, this.uncounted(), 0)
  }

  takenOver(request: unknown): void {
    this.owner ??= enterAlone(request as IncomingMessage, this.rest)
  }

  /** Node gives up on what it reads. */
  failed(error: unknown): void {
    const { code = '' } = error as NodeJS.ErrnoException
    // A connection that was reset, or one that never sent a byte, is no request.
    if (code === 'ERR_HTTP_REQUEST_TIMEOUT' ? this.socket.bytesRead === 0 : !code.startsWith('HPE_')) return
    // Nor is a broken body, whose request is counted already.
    const latest = this.first === null ? this.unread : this.last!.request
    if (latest?.complete === false || this.owner !== null) return
    this.owner = enterAlone(null, new Lines(`\n${this.addresses}`))
    this.faultOfOwner = 1
  }

  closed(): void {
    for (let place = this.first; place !== null; ) {
      const { next } = place
      leave(place, this.uncounted(), faultOf(place))
      place = next
    }
    this.first = null
    if (this.owner !== null) leave(this.owner, this.uncounted(), this.faultOfOwner)
    this.owner = null
    const rest = this.uncounted()
    if (rest > 0) sent(rest)
  }

  /** Bytes that were written since somebody last asked. */
  private uncounted(): number {
    const before = this.written
    this.written = this.socket.bytesWritten
    return this.written - before
  }
}

function closed(this: CountedSocket): void {
  this[connectionKey]?.closed()
}

/** Why an answer did not get out. One that the application itself broke off is no client's fault. */
function faultOf({ request, response }: Place): Fault {
  if (response!.destroyed) return 0
  return request!.complete ? 2 : 1
}
