// The statistics server: whoever connects gets the document, then the end.
//
// It must not be able to hold up the master. Sockets are Node's own, so writing
// never blocks; a client that does not read has a deadline; and when too many
// linger, the one that lingers longest goes first, so that a good client is
// always served. A crowd shares one document: it is kept ten times as long as
// it took to make, so that no number of clients takes more of the master than a
// tenth. (uWSGI's master stands still for as long as one client of its unix
// socket does not read.)

import { createServer, type Socket } from 'node:net'
import type { Listener } from '../listen.ts'
import { log } from '../log.ts'
import { snapshot } from './snapshot.ts'

const deadlineMs = 5000
const mostClients = 64
const keptFor = 10

export class StatsServer {
  private readonly clients = new Set<Socket>()
  private document = { bytes: Buffer.alloc(0), until: 0 }
  private readonly sockets: readonly Listener[]

  constructor(listener: Listener, sockets: readonly Listener[]) {
    this.sockets = sockets
    // Whoever sends and ends first still gets the document.
    const server = createServer({ allowHalfOpen: true }, (socket) => this.serve(socket))
    server.on('error', () => {}) // out of descriptors: the client is gone, the master is not
    server.listen({ fd: listener.fd }, listener.backlog)
  }

  private serve(socket: Socket): void {
    this.clients.add(socket)
    if (this.clients.size > mostClients) this.dismissOldest()
    const deadline = setTimeout(() => socket.destroy(), deadlineMs)
    socket
      .on('error', () => {}) // it hung up on us
      .on('close', () => {
        clearTimeout(deadline)
        this.clients.delete(socket)
      })
    // What it sends is read and dropped: closing with unread bytes would reset
    // the connection, and the document with it.
    socket.resume()
    socket.end(this.current())
  }

  private current(): Buffer {
    const begun = performance.now()
    if (begun < this.document.until) return this.document.bytes
    try {
      const bytes = Buffer.from(JSON.stringify(snapshot(this.sockets), null, '\t'))
      const now = performance.now()
      this.document = { bytes, until: now + keptFor * (now - begun) }
      return bytes
    } catch (error) {
      log(`uwshm: no statistics: ${(error as Error).message}`)
      return Buffer.alloc(0) // the client tries again; the master must not end of it
    }
  }

  private dismissOldest(): void {
    const [oldest] = this.clients
    oldest?.destroy()
    this.clients.delete(oldest!)
  }
}
