// The application's own `listen()`: on an address that the master holds it gets
// the master's descriptor; elsewhere it listens itself.
//
// So programs written for one process run as several, unchanged, if their
// address is given to the master with --http-socket. A second worker that
// listens by itself finds the address taken by the first.

import { type EventEmitter, errorMonitor } from 'node:events'
import { type ListenOptions, Server } from 'node:net'
import { resolve } from 'node:path'
import { type Address, writeAddress } from './address.ts'
import { type Handover, listenerFd } from './handover.ts'

/** A socket of the master's. It can be opened once per worker. */
interface Door {
  fd: number
  address: Address
  backlog: number
}

export interface ListenWatch {
  onCalled(server: Server): void
  onListening(server: Server): void
  /** `server` has nobody to hear of it. */
  onTaken(address: string): void
}

export function watchListen(handover: Handover, watch: ListenWatch): void {
  const doors: Door[] = handover.listeners.map(({ address, backlog }, index) => {
    return { fd: listenerFd(handover, index), address, backlog }
  })
  const { listen } = Server.prototype

  Server.prototype.listen = function (this: Server, ...args: unknown[]): Server {
    const wish = wishOf(args)
    const index = wish === null ? -1 : doors.findIndex(({ address }) => opens(address, wish))
    watch.onCalled(this)
    this.once('listening', () => watch.onListening(this))
    if (index < 0) {
      if (wish !== null) onUnheardError(this, 'EADDRINUSE', () => watch.onTaken(writeAddress(wish)))
      return Reflect.apply(listen, this, args) as Server
    }
    const [{ fd, address, backlog }] = doors.splice(index, 1) as [Door]
    if (address.kind === 'unix') Object.assign(this, { _pipeName: address.path }) // what server.address() tells
    const callback = args.findLast((one) => typeof one === 'function')
    return Reflect.apply(
      listen,
      this,
      [{ fd }, backlog, callback].filter((one) => one !== undefined),
    ) as Server
  } as typeof listen
}

/** Sees an error that the application does not listen for, without changing what becomes of it. */
function onUnheardError(server: EventEmitter, code: string, call: () => void): void {
  server.once(errorMonitor, (error: NodeJS.ErrnoException) => {
    if (error.code === code && server.listenerCount('error') === 0) call()
  })
}

/** Where the application wants to listen: (port[, host]), (path) or ({ port, host, path }). */
function wishOf([first, second]: unknown[]): Address | null {
  const given = typeof first === 'object' && first !== null ? (first as ListenOptions) : null
  const where = given ? (given.port ?? given.path) : first
  const host = given ? given.host : second
  if (typeof where === 'number' || (typeof where === 'string' && /^\d+$/.test(where)))
    return { kind: 'tcp', host: typeof host === 'string' ? host : '', port: Number(where) }
  if (typeof where !== 'string') return null
  return { kind: 'unix', path: where.startsWith('\0') ? where : resolve(where) }
}

const everywhere = ['', '0.0.0.0', '::']
const local = ['localhost', '127.0.0.1', '::1']

/** Is the master's `address` what the application asked for? */
function opens(address: Address, wish: Address): boolean {
  if (address.kind === 'unix' || wish.kind === 'unix')
    return address.kind === 'unix' && wish.kind === 'unix' && address.path === wish.path
  if (address.port !== wish.port) return false
  // The operator's word decides how far a port is open, so `listen(8080)` gets 127.0.0.1:8080.
  if (everywhere.includes(wish.host) || everywhere.includes(address.host)) return true
  return wish.host === address.host || (wish.host === 'localhost' && local.includes(address.host))
}
