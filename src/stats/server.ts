// The statistics server: whoever connects gets the document, then the end.
//
// It must not be able to hold up the master. Sockets are Node's own, so writing
// never blocks; a client that does not read has a deadline; and when too many
// linger, the one that lingers longest goes first, so that a good client is
// always served. (uWSGI's master stands still for as long as one client of its
// unix socket does not read.)

import { createServer, type Socket } from 'node:net'
import type { Listener } from '../listen.ts'
import { log } from '../log.ts'
import { snapshot } from './snapshot.ts'

const deadlineMs = 5000
const mostClients = 64

export class StatsServer {
  private readonly clients = new Set<Socket>()
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
    socket.end(this.document())
  }

  private document(): string {
    try {
      return JSON.stringify(snapshot(this.sockets), null, '\t')
    } catch (error) {
      log(`uwshm: no statistics: ${(error as Error).message}`)
      return '' // the client tries again; the master must not end of it
    }
  }

  private dismissOldest(): void {
    const [oldest] = this.clients
    oldest?.destroy()
    this.clients.delete(oldest!)
  }
}
