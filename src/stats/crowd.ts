// The clients of the statistics server: strangers, bounded in number, in time and
// in what they cost.
//
// Who comes waits for its turn, which costs us next to nothing; it then takes what
// its socket holds, which may cost a millisecond. So who came last goes first, and
// while others come, one goes in a while: a thousand who come together hold up
// nobody that comes after them.
//
// A client shows life by taking a slice of the document. Who takes none for five
// seconds is dismissed, whoever is not done after ten is, and when there are too
// many, the one that showed no life for longest goes first, but not while it waits
// for us: a good client is always let in. It asks once; whoever asks again would
// have us keep its questions, and is dismissed.
//
// A slow client keeps alive the document it began with, and a new one is made ten
// times a second; so the bytes of all documents still held are bounded too.

import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'

const idleMs = 5000
const totalMs = 10_000
const mostGiven = 256
const mostHeld = 8 * 2 ** 20
/** Of the descriptors that the process may have, this part; the workers' pipes need some, too. */
const mostClients = Math.min(1024, Math.ceil(mostDescriptors() / 4))
const mostWaiting = Math.max(1, mostClients - 16)
/** Taken whole or not at all, as far as we can see. */
const sliceSize = 2 ** 16
/** From one turn to the next, while others come. */
const betweenMs = 20

interface Client {
  turn: 'not asked for' | 'to come' | 'had'
  holds: Buffer | null
  idle: NodeJS.Timeout
  total: NodeJS.Timeout
}

export class Crowd {
  /** In the order in which they showed life: the longest idle comes first. */
  private readonly clients = new Map<Socket, Client>()
  /** Those of them who were given something, in the same order. */
  private readonly given = new Set<Socket>()
  private readonly waiting: (() => void)[] = []
  /** In this turn of the event loop. */
  private hasCome = false
  private begunAt = 0

  admit(socket: Socket): void {
    if (this.clients.size >= mostClients) this.dismissIdlest()
    const dismiss = () => this.dismiss(socket)
    const client: Client = {
      turn: 'not asked for',
      holds: null,
      idle: setTimeout(dismiss, idleMs),
      total: setTimeout(dismiss, totalMs),
    }
    this.clients.set(socket, client)
    socket
      .on('error', () => {}) // it hung up on us
      .on('close', () => {
        clearTimeout(client.idle)
        clearTimeout(client.total)
        this.clients.delete(socket)
        this.given.delete(socket)
      })
  }

  /** Calls `begin` when it is this client's turn, if it is still there; each has one. */
  wait(socket: Socket, begin: () => void): void {
    const client = this.clients.get(socket)
    if (client === undefined) return
    if (client.turn !== 'not asked for') return this.dismiss(socket)
    client.turn = 'to come'
    this.hasCome = true
    this.waiting.push(() => {
      client.turn = 'had'
      if (!socket.destroyed) begin()
    })
    if (this.waiting.length === 1) setImmediate(this.next)
  }

  private readonly next = () => {
    const now = performance.now()
    // Soon somebody who waits would have to be dismissed: that is whoever came first.
    if (this.waiting.length > mostWaiting) this.waiting.shift()!()
    else if (!this.hasCome || now - this.begunAt >= betweenMs) {
      this.begunAt = now
      this.waiting.pop()!()
    }
    this.hasCome = false
    if (this.waiting.length > 0) setImmediate(this.next)
  }

  /** Writes `bytes` to `out`, which leads to `socket`, as fast as the client takes them, and ends it. */
  give(socket: Socket, out: Writable, bytes: Buffer): void {
    const client = this.clients.get(socket)
    if (client === undefined) return
    if (this.given.size >= mostGiven) this.dismiss(first(this.given)!)
    client.holds = bytes
    this.given.add(socket)
    let at = 0
    const next = () => {
      if (at < bytes.length) return void out.write(bytes.subarray(at, (at += sliceSize)), taken)
      client.holds = null
      out.end()
    }
    const taken = (error?: Error | null) => {
      if (error || !this.given.delete(socket)) return
      this.given.add(socket)
      this.clients.delete(socket)
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
      const idlest = [...this.given].find((socket) => this.clients.get(socket)!.holds !== null)
      if (bytes + size <= mostHeld || idlest === undefined) return held
      this.dismiss(idlest)
    }
  }

  /** The memory of documents that some client has not read to their ends. */
  private held(): Set<ArrayBufferLike> {
    const buffers = [...this.given].map((socket) => this.clients.get(socket)!.holds?.buffer)
    return new Set(buffers.filter((buffer) => buffer !== undefined))
  }

  private dismissIdlest(): void {
    const [idlest] = [...this.clients].find(([, { turn }]) => turn !== 'to come') ?? first(this.clients)!
    this.dismiss(idlest)
  }

  private dismiss(socket: Socket): void {
    this.clients.delete(socket)
    this.given.delete(socket)
    socket.destroy()
  }
}

function first<T>(all: Iterable<T>): T | undefined {
  for (const one of all) return one
  return undefined
}

function mostDescriptors(): number {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
  return Number(soft ?? 1024)
}
