// Listening sockets as the master holds them: bound, never accepted on, and
// taken down again. A unix socket's file is removed only if it is still ours.

import { statSync, unlinkSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Address, writeAddress } from './address.ts'
import { UwsgiError } from './errors.ts'
import { native } from './native.ts'

export interface Listener {
  fd: number
  /** As bound: the port that the kernel chose for 0, the absolute path. */
  address: Address
  name: string
  backlog: number
}

const files = new WeakMap<Listener, string>()

export function listenAt(wish: Address, backlog: number): Listener {
  const address = wish.kind === 'unix' && !isAbstract(wish.path) ? { ...wish, path: resolve(wish.path) } : wish
  const fd = bind(address, backlog)
  const bound = native.boundAddress(fd)
  if (address.kind === 'tcp') address.port = bound[1] as number
  const listener = { fd, address, name: writeAddress(address), backlog }
  if (address.kind === 'unix' && !isAbstract(address.path)) files.set(listener, identity(address.path))
  return listener
}

function bind(address: Address, backlog: number): number {
  try {
    if (address.kind === 'unix') return native.listenUnix(address.path, backlog)
    return native.listenTcp(address.host, address.port, backlog)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const name = writeAddress(address)
    throw code === 'EADDRINUSE'
      ? new UwsgiError('ADDRESS_TAKEN', name)
      : new UwsgiError('ADDRESS_BAD', name, `${message.toLowerCase()} (${code})`)
  }
}

export function closeListener(listener: Listener): void {
  native.closeFd(listener.fd)
  removeFile(listener)
}

/** Another master may have put its own file there meanwhile; that one stays. */
export function removeFile(listener: Listener): void {
  const file = files.get(listener)
  if (file === undefined || listener.address.kind !== 'unix') return
  files.delete(listener)
  try {
    if (identity(listener.address.path) === file) unlinkSync(listener.address.path)
  } catch {
    // gone already
  }
}

function identity(path: string): string {
  const { dev, ino } = statSync(path)
  return `${dev}:${ino}`
}

function isAbstract(path: string): boolean {
  return path.startsWith('\0')
}
