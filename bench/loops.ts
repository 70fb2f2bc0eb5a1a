// One process of ours, or of a plain Map, that times itself: it is forked by rivals.ts,
// told what to run and from when to when, and answers with CPU nanoseconds per call.
//
// Every loop is written out, so that each call site stays monomorphic, and each adds
// up something of what it got, so that none can be optimised away.

import { uwsgi } from '../dist/index.js'

export interface Task {
  loop: keyof typeof loops
  size: number
  /** Milliseconds of the monotonic clock, which all processes share. */
  start: number
  end: number
}

export interface Timing {
  pid: number
  nanoseconds: number
  passes: number
}

export const sizes = [32, 100, 1024, 16384]

/** 4096 keys of 16 bytes, in an order that is always the same and never sorted. */
export function makeKeys(kind: 'key' | 'not' = 'key'): string[] {
  const keys: string[] = []
  // A full-period generator: every number below 4096 once.
  for (let i = 0, n = 1; i < 4096; i++, n = (n * 1229 + 1) % 4096)
    keys.push(flat(`${kind}:${n.toString(16).padStart(12, '0')}`))
  return keys
}

/** The order in which stores are filled: not the one they are read in, or memory would be walked in a straight line. */
export function inOrder(keys: string[]) {
  return keys.toSorted()
}

/** A string made by concatenation is a tree until someone reads it; a key in hand is not. */
function flat(text: string) {
  return Buffer.from(text).toString('latin1')
}

/** Older than toString('latin1') and quicker; the types do not know it. */
type Latin1 = Buffer & { latin1Slice(): string }

/** The second of a pair begins half-way: two processes in step would meet at every key. */
function turned<T>(all: readonly T[]): T[] {
  const first = Number(process.argv[2] ?? 0) * (all.length / 2)
  return [...all.slice(first), ...all.slice(0, first)]
}

const keys = turned(makeKeys('key'))
const absent = turned(makeKeys('not'))
const value = (size: number) => Buffer.alloc(size, 'x')

export const loops = {
  getString(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    return () => {
      let seen = 0
      for (const key of keys) seen += cache.getString(key)!.length
      return seen
    }
  },

  getBuffer(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    return () => {
      let seen = 0
      for (const key of keys) seen += cache.get(key)!.length
      return seen
    }
  },

  cacheGet(size: number) {
    const name = `v${size}`
    return () => {
      let seen = 0
      for (const key of keys) seen += uwsgi.cacheGet(key, name)!.length
      return seen
    }
  },

  missString(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    return () => {
      let seen = 0
      for (const key of absent) seen += cache.getString(key) === null ? 1 : 0
      return seen
    }
  },

  missCacheGet(size: number) {
    const name = `v${size}`
    return () => {
      let seen = 0
      for (const key of absent) seen += uwsgi.cacheGet(key, name) === null ? 1 : 0
      return seen
    }
  },

  update(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    const bytes = value(size)
    return () => {
      let seen = 0
      for (const key of keys) seen += cache.update(key, bytes) ? 1 : 0
      return seen
    }
  },

  updateString(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    const text = value(size).toString('latin1')
    return () => {
      let seen = 0
      for (const key of keys) seen += cache.update(key, text) ? 1 : 0
      return seen
    }
  },

  cacheUpdate(size: number) {
    const name = `v${size}`
    const bytes = value(size)
    return () => {
      let seen = 0
      for (const key of keys) seen += uwsgi.cacheUpdate(key, bytes, 0, name) ? 1 : 0
      return seen
    }
  },

  updateBitmap(size: number) {
    const cache = uwsgi.cache('runs')
    const bytes = value(size)
    return () => {
      let seen = 0
      for (const key of keys) seen += cache.update(key, bytes) ? 1 : 0
      return seen
    }
  },

  /** Every value has another length than the one before it, and than the one that it replaces. */
  updateMixed(size: number) {
    const cache = uwsgi.cache('runs')
    const short = value(size)
    const long = value(3 * size)
    let pass = 0
    return () => {
      let seen = pass++ & 1
      for (const key of keys) seen += cache.update(key, seen & 1 ? short : long) ? 1 : 0
      return seen
    }
  },

  setAndDel(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    const bytes = value(size)
    return () => {
      let seen = 0
      for (const key of absent) {
        seen += cache.set(key, bytes) ? 1 : 0
        cache.del(key)
      }
      return seen
    }
  },

  inc() {
    const cache = uwsgi.cache('counters')
    return () => {
      let seen = 0
      for (const key of keys) seen += Number(cache.inc(key))
      return seen
    }
  },

  mapReference(size: number) {
    const map = new Map(inOrder(keys).map((key) => [key, value(size)]))
    return () => {
      let seen = 0
      for (const key of keys) seen += map.get(key)!.length
      return seen
    }
  },

  mapString(size: number) {
    const map = new Map(inOrder(keys).map((key) => [key, value(size)]))
    return () => {
      let seen = 0
      for (const key of keys) seen += (map.get(key)! as Latin1).latin1Slice().length
      return seen
    }
  },

  mapBuffer(size: number) {
    const map = new Map(inOrder(keys).map((key) => [key, value(size)]))
    return () => {
      let seen = 0
      for (const key of keys) seen += Buffer.from(map.get(key)!).length
      return seen
    }
  },

  mapMiss(size: number) {
    const map = new Map(inOrder(keys).map((key) => [key, value(size)]))
    return () => {
      let seen = 0
      for (const key of absent) seen += map.get(key) === undefined ? 1 : 0
      return seen
    }
  },

  mapUpdate(size: number) {
    const map = new Map(inOrder(keys).map((key) => [key, value(size)]))
    const bytes = value(size)
    return () => {
      for (const key of keys) map.set(key, Buffer.from(bytes))
      return map.size
    }
  },

  mapInc() {
    const map = new Map(inOrder(keys).map((key) => [key, 0]))
    return () => {
      let seen = 0
      for (const key of keys) {
        const sum = map.get(key)! + 1
        map.set(key, sum)
        seen += sum
      }
      return seen
    }
  },
}

const prepared = new Map<string, () => number>()

process.on('message', (task: Task) => process.send?.(time(task)))

function time({ loop, size, start, end }: Task): Timing {
  const name = `${loop} ${size}`
  const pass = prepared.get(name) ?? loops[loop](size)
  prepared.set(name, pass)

  let passes = 0
  while (milliseconds() < start);
  const before = process.cpuUsage()
  do {
    if (pass() <= 0) throw new Error(`${name} got nothing: the cache is not filled`)
    passes++
  } while (milliseconds() < end)
  const { user, system } = process.cpuUsage(before)
  return { pid: process.pid, nanoseconds: ((user + system) * 1000) / (passes * keys.length), passes }
}

export function milliseconds() {
  return Number(process.hrtime.bigint()) / 1e6
}
