// The clients of the statistics server: strangers, bounded in number, in time and
// in what they cost.
//
// A client shows life by taking a slice of the document. Who takes none for five
// seconds is dismissed, whoever is not done after ten is, and when there are too
// many, the one that showed no life for longest goes first: a good client is
// always let in. A slow client keeps alive the document it began with, and a new
// one is made ten times a second; so the bytes of all documents still held are
// bounded too.

import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'

const idleMs = 5000
const totalMs = 10_000
const mostClients = 256
const mostHeld = 8 * 2 ** 20
/** Taken whole or not at all, as far as we can see. */
const sliceSize = 2 ** 16

interface Client {
  holds: Buffer | null
  idle: NodeJS.Timeout
  total: NodeJS.Timeout
}

export class Crowd {
  /** In the order in which they showed life: the longest idle comes first. */
  private readonly clients = new Map<Socket, Client>()

  admit(socket: Socket): void {
    if (this.clients.size >= mostClients) this.dismissIdlest(() => true)
    const dismiss = () => void socket.destroy()
    const client = { holds: null, idle: setTimeout(dismiss, idleMs), total: setTimeout(dismiss, totalMs) }
    this.clients.set(socket, client)
    socket
      .on('error', () => {}) // it hung up on us
      .on('close', () => {
        clearTimeout(client.idle)
        clearTimeout(client.total)
        this.clients.delete(socket)
      })
  }

  /** Writes `bytes` to `out`, which leads to `socket`, as fast as the client takes them, and ends it. */
  give(socket: Socket, out: Writable, bytes: Buffer): void {
    const client = this.clients.get(socket)
    if (client === undefined) return
    client.holds = bytes
    let at = 0
    const next = () => {
      if (at < bytes.length) return void out.write(bytes.subarray(at, (at += sliceSize)), taken)
      client.holds = null
      out.end()
    }
    const taken = (error?: Error | null) => {
      if (error || !this.clients.delete(socket)) return
      this.clients.set(socket, client)
      client.idle.refresh()
      next()
    }
    next()
  }

  /** Before another document of `size` bytes is given to anyone; what is held after that. */
  makeRoom(size: number): Set<ArrayBufferLike> {
    for (;;) {
      const held = this.held()
      const bytes = [...held].reduce((sum, { byteLength }) => sum + byteLength, 0)
      if (bytes + size <= mostHeld || !this.dismissIdlest(({ holds }) => holds !== null)) return held
    }
  }

  /** The memory of documents that some client has not read to their ends. */
  private held(): Set<ArrayBufferLike> {
    return new Set([...this.clients.values()].flatMap(({ holds }) => (holds === null ? [] : [holds.buffer])))
  }

  private dismissIdlest(matches: (client: Client) => boolean): boolean {
    for (const [socket, client] of this.clients) {
      if (!matches(client)) continue
      this.clients.delete(socket)
      socket.destroy()
      return true
    }
    return false
  }
}
