// The only file that loads the addon, and the types of what it exports.
//
// TypeScript owns words, C++ owns bytes: every call below takes few, positional,
// primitive arguments. Hot calls (BoundCache) are plain functions that carry
// their cache and thread with them, so that a call costs no look-up.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { UwsgiError } from './errors.ts'

/** A cache to be created: name, capacity in items, bytes of one block, longest key in bytes, buckets (rounded up to a power of two), what a counter begins with, hash, whether to keep the time of the last change, whether the sweeper leaves it alone, who goes when it is full, whether all go then, number of blocks in bitmap mode (0 = not in it), the descriptor of its store (-1 = none), whether what that holds is not wanted, whether items carry checksums. */
export type CacheGeometry = [
  name: string,
  items: number,
  blocksize: number,
  keysize: number,
  hashsize: number,
  mathInitial: bigint,
  hash: 'keyed' | 'djb33x' | 'murmur2',
  lastmod: boolean,
  isUnswept: boolean,
  policy: Policy,
  clearOnFull: boolean,
  bitmapBlocks: number,
  store: number,
  isWiped: boolean,
  checksum: boolean,
]

/** Which item goes when there is no room for another: none, the one used longest ago, the oldest unread one. */
export type Policy = 'none' | 'lru' | 'lru-strict' | 'sieve'

/** A metric to be defined; `type` and `source` as metrics_layout.hpp numbers them, `figure` by its name in figures.cpp, or ''. */
export type MetricRow = [
  name: string,
  oid: string,
  type: number,
  source: number,
  figure: string,
  first: number,
  second: number,
  initial: bigint,
]

/** Why the last refused write of a cache was refused. */
export type Refusal =
  | 'EXISTS'
  | 'CHANGED'
  | 'FULL'
  | 'CROWDED'
  | 'KEY_EMPTY'
  | 'KEY_TOO_LONG'
  | 'VALUE_TOO_LARGE'
  | 'NOT_A_NUMBER'
  | 'DIVISION'
  | 'ABSENT'

type Bytes = string | Uint8Array

/** The hot calls of one cache, bound to it and to the calling thread. */
export interface BoundCache {
  /** The value as text, or null. ASCII is told apart from UTF-8 when it is stored. */
  getString(key: Bytes): string | null
  /** Copies the value to the slab of its size, see `slab`, and moves on there by its length rounded up to 8. Length in bytes; -1 absent; -2-n: n bytes are needed. */
  read(key: Bytes): number
  /** Copies the value to the beginning of `target` if it has that many bytes. Length in bytes, or null. */
  readInto(key: Bytes, target: Uint8Array): number | null
  /** Stores a new item; seconds 0 or absent = for ever. False: see `refusal`. */
  set(key: Bytes, value: Bytes, seconds?: number): boolean
  update(key: Bytes, value: Bytes, seconds?: number): boolean
  /** Stores where the value is the expected one; null expects no item. False: see `refusal`. */
  cas(key: Bytes, expected: Bytes | null, value: Bytes, seconds?: number): boolean
  /** Another time to live. False: there is no such item. */
  touch(key: Bytes, seconds: number): boolean
  /** As `read`, always to the large slab, and removes the item where it answers with a length. */
  pop(key: Bytes): number
  del(key: Bytes): boolean
  /** Removes the items whose keys begin so; the number removed. */
  delPrefix(prefix: Bytes): number
  exists(key: Bytes): boolean
  /** Adds n to a 64-bit counter and returns the result: a bigint if n is one, else a number. Null: see `refusal`. */
  inc(key: Bytes, n?: number | bigint, seconds?: number): number | bigint | null
  dec(key: Bytes, n?: number | bigint, seconds?: number): number | bigint | null
  /** n is 2 when left out. */
  mul(key: Bytes, n?: number | bigint, seconds?: number): number | bigint | null
  div(key: Bytes, n?: number | bigint, seconds?: number): number | bigint | null
  /** The counter, or null when absent or not 8 bytes long. */
  num(key: Bytes): number | null
  bigNum(key: Bytes): bigint | null
  /** Seconds left, Infinity when it never expires, null when absent. */
  ttl(key: Bytes): number | null
  /** Removes every item; the number removed. */
  clear(): number
  /** Some live keys, from `bucket` on: [the next bucket or -1, key ...]. */
  scan(prefix: Bytes, bucket: number, asBytes: boolean): [next: number, ...keys: (string | Buffer)[]]
  /** Live items. */
  size(): number
  refusal(): Refusal | null
}

/** Counters of one cache, read without a lock. */
export interface CacheFigures {
  name: string
  hash: string
  hashsize: number
  keysize: number
  maxItems: number
  blocks: number
  blocksize: number
  bitmap: boolean
  /** In bitmap mode: blocks that values take, and items that were given other blocks to join free ones. */
  blocksTaken: number
  moves: number
  items: number
  hits: number
  miss: number
  full: number
  repairs: number
  /** Items that made room for others. */
  evictions: number
  policy: Policy
  /** Items that were removed because they had expired. */
  expired: number
  /** Items of the longest chain that there ever was. */
  longestChain: number
  /** Items that were found damaged and have gone: with checksum, and in a store, its start included. */
  damaged: number
  /** Memory that it takes. */
  bytes: number
  /** Epoch seconds; 0 = never, or without `lastmod`. */
  lastModifiedAt: number
  /** Refused writes by reason. */
  refused: Record<Refusal, number>
}

/** A process slot in use. */
export interface ProcessFigures {
  slot: number
  pid: number
  /** 0 = master (or a process that is no worker), else the worker's id. */
  worker: number
  alive: boolean
}

/** One row per worker id; it outlives the worker's processes. */
export interface WorkerFigures {
  id: number
  pid: number
  /** 1 once the worker serves. */
  accepting: number
  /** Served since the instance began. */
  requests: number
  /** Served by the present process. */
  deltaRequests: number
  exceptions: number
  /** Requests in flight, also those that have no core. */
  inFlight: number
  /** Requests that found every core taken. */
  overflows: number
  /** Bytes written to clients. */
  tx: number
  /** Microseconds: the sum over requests, and uWSGI's moving average. */
  runningTime: number
  avgRt: number
  respawnCount: number
  /** Epoch seconds. */
  lastSpawn: number
  /** Whole seconds that the application took to load. */
  startupTime: number
  /** How late the event loop's timers were, microseconds, in the second before the last beat. */
  delayP50: number
  delayP99: number
  delayMax: number
  /** Milliseconds since the last beat; -1: there was none yet. */
  beatAge: number
}

/** A user lock: its counters, its holder (or 0) and how many wait. */
export interface LockFigures {
  name: string
  /** 0 plain, 1 fair, 2 read-write. */
  kind: number
  pid: number
  acquisitions: number
  contended: number
  waitUs: number
  /** By a clock of 100 ms. */
  longestHoldUs: number
  recoveries: number
  waiters: number
}

/** What the watcher has seen: a death and what it released, a hold that is long, its end, a circle of waits. */
export type LockNews = 'died' | 'held' | 'stopped' | 'free' | 'circle'

/** How a request ended: 0 well, 1 the client left before its request was there, 2 before the answer was out. */

/** What a file holds, as a start would find it. */
export interface StoreFigures {
  /** Why it is no store that can be read; '' if it can. */
  objection: string
  name: string
  hash: string
  policy: Policy
  /** Expiries are counted from this boot. */
  isThisBoot: boolean
  /** What would be wrong with the cache that a start made of it: '' unless we have a bug. */
  fault: string
  size: number
  items: number
  blocksize: number
  keysize: number
  hashsize: number
  threads: number
  /** Pid of who has it, or had it last. */
  owner: number
  good: number
  expired: number
  /** Versions that had been replaced. */
  older: number
  damaged: number
  /** Of the values of good items. */
  bytes: number
  /** The first few that are damaged: slot and key, as far as that can be made out. */
  first: [slot: number, key: Buffer][]
}

export interface Native {
  /** Hands in the class that native code throws: `new UwsgiError(code, ...about)`. Once per environment. */
  errors(type: typeof UwsgiError): void

  /**
   * Makes segments and attaches as their master. Refuses when the caches' items need more than `memory` bytes (0 = whatever they need).
   * For locks that are the kernel's: `locksKey` as ftok(3) makes it, 0 for one of their own; `keepLocks`: nobody removes them at the end.
   * Room for so many metrics, of which so many are counted.
   */
  create(
    maxProcesses: number,
    workers: number,
    cores: number,
    lockEngine: string,
    caches: CacheGeometry[],
    memory: number,
    locksKey: number,
    keepLocks: boolean,
    numberedLocks: number,
    mostLocks: number,
    metricSlots: number,
    metricCells: number,
  ): void
  /** Attaches to another process's segments. `worker` is its id, 0 for none. Paths of the descriptors, in the order of `instance`. */
  attach(instance: string, paths: string[], worker: number): void
  /** Is this process attached? One process attaches once, whichever thread asked. */
  attached(): boolean
  /** Instance id (hex) and the descriptors of root, locks, accounting, user locks, metrics, and caches. */
  instance(): { id: string; fds: number[] }
  /** The engine of the locks, in the words of uWSGI's log. */
  lockEngineTitle(): string
  /** As --lock-engine says it. */
  lockEngineName(): string
  /** Removes the kernel's objects that instances have left of which nobody lives; how many. */
  reapLocks(): number

  /** The slab that small values (0) or others (1) are copied to, from `offset`. Keep the buffer alive until the next call. */
  slab(which: 0 | 1, memory: ArrayBuffer, offset: number): void
  bindCache(index: number): BoundCache
  cacheNames(): string[]
  cacheFigures(index: number): CacheFigures
  /** Walks every invariant; null when all hold, else the first that does not. Nobody else may be writing. */
  checkCache(index: number): string | null
  /** Takes the file for this process alone, until `create` shares it with those who attach. False: somebody has it. Throws an Error with `code`. */
  ownStore(fd: number): boolean
  /** Does anybody have it mapped? */
  isStoreOwned(fd: number): boolean
  /** Pid of who has that store, or had it last; 0 = it does not say. */
  storeOwner(fd: number): number
  /** Null: nothing was ever written there. Else what speaks against it as the store of such a cache ('': nothing), and whether it is damaged. */
  judgeStore(fd: number, cache: CacheGeometry, maxProcesses: number): [isDamaged: boolean, objection: string] | null
  /** Changes nothing. Only `objection`, where there is one. Throws an Error with `code`. */
  examineStore(fd: number): StoreFigures
  /** A native thread of this process removes what has expired, every so many milliseconds, until the process ends. */
  startSweeper(periodMs: number): void

  /** Frees the slots of dead processes, after finishing what they left half done; the number of processes. */
  reclaim(): number
  processes(): ProcessFigures[]
  /** Every internal lock with the pid of its holder, or 0. */
  locks(): [name: string, pid: number][]

  /** Room for metrics; 0 = they are off. */
  metricCapacity(): number
  metricCount(): number
  /** Appends them all or none: the first one's number; -1 `family` (a number, or -1) has `most` already; -2 no room; -3-n metric n has one of the names. */
  defineMetrics(rows: MetricRow[], family: number, most: number): number
  /** Every metric from number `from` on; cell -1: it is not counted. What is said here of a metric never changes. */
  metricSpecs(
    from: number,
  ): [name: string, oid: string, type: number, source: number, first: number, cell: number, initial: bigint][]
  /** The calling thread's cells, 64 bits each: shared memory that nobody else writes. Empty where none can be lent. */
  metricRow(): ArrayBuffer
  /** Rounded beyond 2^53. */
  metricValue(index: number): number
  metricBigValue(index: number): bigint
  /** Of all, in order. */
  metricValues(): BigInt64Array
  /** `change`: see `changes` in metrics/metric.ts. Wraps at 64 bits. False: it is not counted, or divided by 0. */
  changeMetric(index: number, change: number, n: bigint): boolean
  /** For its collector, and for what was before a restart. */
  storeMetric(index: number, value: bigint): void
  /** Walks every invariant; null when all hold. */
  checkMetrics(): string | null

  /** Rows of workers 1..N. */
  workers(): WorkerFigures[]
  workerCount(): number
  /** Requests of worker `id` since the instance began. */
  requestsServed(id: number): number
  /** With those in flight. */
  requestsBegun(id: number): number
  /** Master: worker `id` was started as `pid`, at `epochSeconds`. */
  workerSpawned(id: number, pid: number, epochSeconds: number): void
  /** Master: worker `id` is gone. */
  workerGone(id: number): void
  /** Worker: the application was loaded in so many seconds, and serves. */
  workerAccepting(startupSeconds: number): void
  /** What this worker may write to without a call: its row, its cores, their heads (src/metrics/row.ts). Null: this Node lends no memory. */
  lendRows(): readonly [ArrayBuffer, ArrayBuffer, ArrayBuffer] | null
  bootMicroseconds(): number
  /**
   * The head of the request on `core`, for whoever looks at it, in lines: method, url, HTTP version, remote address and
   * port, local address and port, then names and values of headers in turn; cut at about 4 KB.
   */
  requestHead(core: number, head: string): void
  /** In the request on that core; -1: nobody knows in which. */
  exceptionRaised(core: number): void
  /** How late the event loop's timers were since the last beat, microseconds. */
  beat(p50: number, p99: number, max: number): void

  /** Cores of each worker. */
  coreCount(): number
  /** Six numbers for each core of worker `id`, flat: requests, 0 or 1 in request, its start (epoch seconds), read errors, write errors, its age (milliseconds). */
  cores(id: number): Float64Array
  /** The head of the request on that core. Null: there is none, or it changed while it was read. */
  coreHead(id: number, core: number): string | null
  /** Are workers (to be) paused? */
  pause(on: boolean): void
  paused(): boolean
  masterPid(): number
  /** Epoch seconds. */
  startedOn(): number
  /** 0 = this process is no worker. */
  workerId(): number

  /** How many user locks have numbers. */
  lockCount(): number
  /** For the main thread: the memory of all locks, where in it they and the clock of holds are, and who it is there (locks/lent.ts). Else empty. */
  lockLent(): [] | [memory: ArrayBuffer, locksAt: number, tickAt: number, me: number, thread: number]
  /** What this thread took. Throws LOCK_NOT_OWNER. */
  lockRelease(lock: number): void
  /** For this thread, which blocks; timeoutMs -1 = for ever. False: the time is over. `again`: it may have it already. Throws LOCK_HELD, DEADLOCK. */
  lockWait(lock: number, timeoutMs: number, again: boolean): boolean
  lockShare(lock: number, timeoutMs: number): boolean
  /** Without waiting; false also when this thread has it. */
  lockTry(lock: number, again: boolean): boolean
  lockUnshare(lock: number): void
  /** Does anybody have it? */
  lockHeld(lock: number): boolean
  /** Did it come from an owner that died? `token` 0: to this thread. */
  lockInherited(lock: number, token: number): boolean
  /** Where outcomes of `lockBegin` are told: 0 its time is over, 1 it has the lock, 2 it would wait for ever. Once. */
  onLock(tell: (token: number, outcome: 0 | 1 | 2) => void): void
  /** For a hold of its own. Its token: held when positive, waited for when negative; 0: taken, and no time to wait. `parent`: the token of the hold it is wanted within. */
  lockBegin(lock: number, shared: boolean, timeoutMs: number, parent: number): number
  /** True: it waits no more. False: its outcome is on its way. */
  lockCancel(token: number): boolean
  /** False: that hold was over. */
  lockEnd(lock: number, token: number, shared: boolean): boolean
  /** The right to compute what that key of that cache shall hold. Its token: ours when positive; when negative somebody has it, and its end is told (`onLock`, 1). Throws LEASES_FULL. */
  leaseTake(cache: number, key: Uint8Array): number
  leaseEnd(token: number): void
  /** The lock of that name, made at the first call; 0 plain, 1 fair, 2 read-write. */
  lockNamed(name: string, kind: number): number
  lockFigures(): LockFigures[]
  /** The locks of the engine, those of one structure together; the time waited is counted in milliseconds. */
  structureLocks(): Omit<LockFigures, 'kind' | 'longestHoldUs' | 'waiters'>[]
  /** Master: starts the thread that releases what the dead hold, and tells. `alarmMs`: tell also of locks held longer, 0 = only of stopped processes. */
  watchLocks(
    alarmMs: number,
    tell: (news: LockNews, lock: string, pid: number, worker: number, ms: number, waiters: number) => void,
  ): void

  /**
   * From now on `tell` gets every message that a process of this user posts to that name (source -1), and what can be read
   * of descriptor `fds[source]`, `sizes[source]` bytes at a time; nothing once more when it has ended. Messages of more than
   * 64 KB are cut; when 256 wait for the event loop, further ones are lost. False: another mailbox has that name.
   */
  openMailbox(
    name: string,
    fds: readonly number[],
    sizes: readonly number[],
    tell: (source: number, bytes: Buffer) => void,
  ): boolean
  /** False: nobody has that mailbox, or it is full; with `waits`, it was so for 10 ms. */
  post(name: string, bytes: Uint8Array, waits: boolean): boolean

  /** Binds and listens without accepting; the descriptor. host '' = every address. Throws an Error with `code` (EADDRINUSE …). */
  listenTcp(host: string, port: number, backlog: number): number
  /** `path` starting with \0 is an abstract name, bound exactly. A stale socket file is removed first; one that answers is EADDRINUSE. */
  listenUnix(path: string, backlog: number): number
  /** A connected descriptor. `path` starting with \0 is exactly that abstract name (Node 20 pads it). Throws an Error with `code`. */
  connectUnix(path: string): number
  /** Sockets accepted from this listening one keep at most so many bytes (about) that a client does not read. */
  limitSending(fd: number, bytes: number): void
  /** Connections that wait at a listening socket, the most that may, and those that were dropped; zeros where the kernel does not tell. */
  socketQueue(fd: number): [waiting: number, longest: number, dropped: number]
  /** The event loop looks at these listening descriptors, or does not (nor at one that began to listen in this turn): what arrives waits in the kernel. */
  setAccepting(fds: number[], on: boolean): void
  /** The address a listening descriptor is bound to: [host, port] or the path. */
  boundAddress(fd: number): [host: string, port: number] | string
  closeFd(fd: number): void
  /** The kernel sends `signal` to this process when its parent dies. False when the parent is not `pid` any more. */
  dieWithParent(pid: number, signal: number): boolean
}

function load(): Native {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new UwsgiError('PLATFORM', `${process.platform} ${process.arch}`)
  const require = createRequire(import.meta.url)
  const root = fileURLToPath(new URL('..', import.meta.url))
  const addon = (require('node-gyp-build') as (root: string) => Native)(root)
  addon.errors(UwsgiError)
  return addon
}

export const native = load()
