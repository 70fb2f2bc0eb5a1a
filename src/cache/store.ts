// The files that caches live in: `store`, `store_sync`, `store_delete`.
//
// A store is the cache's memory itself, so nothing is written at the end, and nothing is lost when there is
// no end: after `kill -9` of everything the kernel still has the pages. A start never fails for what a file
// holds: one that is no store of this cache is moved aside (uWSGI refuses to start), and an item
// that is damaged is a miss.

import { closeSync, constants, fdatasync, fstatSync, openSync, renameSync, statSync, unlinkSync } from 'node:fs'
import { UwsgiError } from '../errors.ts'
import { log } from '../log.ts'
import { type CacheGeometry, native } from '../native.ts'
import type { CacheOptions, Options } from '../options.ts'

/** For as long as workers of a killed master may take to follow it. */
const patienceMs = 2000

/** Every cache as it is to be made, with its store open and ours alone. */
export function openStores({ cache2, maxProcesses }: Options): CacheGeometry[] {
  const open: number[] = []
  try {
    return cache2.map((cache) => {
      const row = rowOf(cache)
      if (cache.store !== '') [row[12], row[13]] = openStore(cache, row, maxProcesses)
      open.push(row[12])
      return row
    })
  } catch (error) {
    for (const fd of open) if (fd >= 0) closeSync(fd)
    throw error
  }
}

/** uWSGI's lines. */
export function tellOfStores({ cache2 }: Options, rows: CacheGeometry[]): void {
  for (const [index, { name, store }] of cache2.entries()) {
    if (store === '') continue
    if (rows[index]![13]) {
      log(`creating a new cache store file: ${store}`)
      continue
    }
    const { items, damaged } = native.cacheFigures(index)
    log(`recovered cache from backing store file: ${store}`)
    log(`[uwsgi-cache] restored ${items} items of cache "${name}"${damaged > 0 ? `; ${damaged} were damaged` : ''}`)
  }
}

/** Has the kernel write each store every so often, and not before it has written it the last time. */
export function syncStores({ cache2 }: Options): void {
  const fds = native.instance().fds.slice(-cache2.length)
  for (const [index, { name, store, store_sync }] of cache2.entries()) {
    if (store === '' || store_sync === 0) continue
    let isWriting = false
    let complaint = ''
    const sync = () => {
      if (isWriting) return
      isWriting = true
      fdatasync(fds[index]!, (error) => {
        isWriting = false
        const why = error?.message ?? ''
        if (why !== '' && why !== complaint) log(`*** cache "${name}": its store ${store} was not written: ${why} ***`)
        complaint = why
      })
    }
    setInterval(sync, 1000 * store_sync).unref()
  }
}

function rowOf(cache: CacheOptions): CacheGeometry {
  return [
    cache.name,
    cache.items,
    cache.blocksize,
    cache.keysize,
    cache.hashsize,
    cache.math_initial,
    cache.hash,
    cache.lastmod,
    cache.no_expire || cache.lazy_expire,
    cache.policy,
    cache.clear_on_full,
    cache.bitmap ? cache.blocks : 0,
    -1,
    false,
    cache.checksum,
  ]
}

function openStore(cache: CacheOptions, row: CacheGeometry, maxProcesses: number): [fd: number, isWiped: boolean] {
  const { name, store, store_delete } = cache
  const unusable = (error: unknown) => {
    if (error instanceof UwsgiError) return error
    return new UwsgiError('STORE_BAD', name, store, (error as NodeJS.ErrnoException).code)
  }
  for (;;) {
    let fd = -1
    try {
      fd = openOwn(cache)
      // Whoever had it before us may have moved it aside while we waited.
      if (!isStillAt(fd, store)) continue
      const verdict = native.judgeStore(fd, row, maxProcesses)
      if (verdict === null || verdict[1] === '') return [keep(), verdict === null]
      const [isDamaged, objection] = verdict
      const aside = nameAside(store, isDamaged ? 'damaged' : 'old')
      if (store_delete) unlinkSync(store)
      else renameSync(store, aside)
      const fate = store_delete ? 'removed it' : `moved it to ${aside}`
      log(`*** cache "${name}" starts empty: its store ${store} cannot be used (${objection}); ${fate} ***`)
    } catch (error) {
      throw unusable(error)
    } finally {
      if (fd >= 0) closeSync(fd)
    }

    function keep() {
      const kept = fd
      fd = -1
      return kept
    }
  }
}

/** Opened, a file of ours, and locked. */
function openOwn({ name, store }: CacheOptions): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants
  const fd = openSync(store, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600)
  try {
    const file = fstatSync(fd)
    if (!file.isFile()) throw new UwsgiError('STORE_BAD', name, store, 'it is no file')
    if (file.uid !== process.geteuid!()) throw new UwsgiError('STORE_BAD', name, store, `it belongs to uid ${file.uid}`)
    const end = performance.now() + patienceMs
    while (!native.ownStore(fd)) {
      if (performance.now() > end) throw new UwsgiError('STORE_IN_USE', name, store, native.storeOwner(fd))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    }
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function isStillAt(fd: number, path: string): boolean {
  const [ours, there] = [fstatSync(fd), statSync(path, { throwIfNoEntry: false })]
  return ours.ino === there?.ino && ours.dev === there.dev
}

function nameAside(store: string, what: string): string {
  const name = `${store}.${what}-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`
  for (let n = 0; ; n++) {
    const free = n === 0 ? name : `${name}-${n}`
    if (statSync(free, { throwIfNoEntry: false }) === undefined) return free
  }
}
