// The loops of ours, and of a plain Map: the call as an application makes it, for every key.
//
// Every loop is written out, so that each call site stays monomorphic, and each adds
// up something of what it got, so that none can be optimised away.

import { uwsgi } from '../dist/index.js'
import { inOrder, makeKeys, turned } from './keys.ts'
import { answerWith } from './timed.ts'

/** Older than toString('latin1') and quicker; the types do not know it. */
type Latin1 = Buffer & { latin1Slice(): string }

const keys = turned(makeKeys('key'))
const absent = turned(makeKeys('not'))
const tails = keys.map((key) => key.slice(-5))
const value = (size: number) => Buffer.alloc(size, 'x')

answerWith({
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

  getInto(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    const target = Buffer.alloc(size)
    return () => {
      let seen = 0
      for (const key of keys) seen += cache.getInto(key, target)!
      return seen
    }
  },

  /** The key is made for the call, as most are. */
  freshString(size: number) {
    const cache = uwsgi.cache(`v${size}`)
    return () => {
      let seen = 0
      for (const tail of tails) seen += cache.getString(`key:0000000${tail}`)!.length
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

  /** Of two keys one is there, so each set makes one go. */
  evictLru: (size: number) => evicting('lru', size),
  evictStrict: (size: number) => evicting('lru-strict', size),
  evictSieve: (size: number) => evicting('sieve', size),

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

  mapFresh(size: number) {
    const map = new Map(inOrder(keys).map((key) => [key, value(size)]))
    return () => {
      let seen = 0
      for (const tail of tails) seen += map.get(`key:0000000${tail}`)!.length
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
})

function evicting(name: string, size: number): () => number {
  const cache = uwsgi.cache(name)
  const bytes = value(size)
  return () => {
    let seen = 0
    for (const key of keys) seen += cache.update(key, bytes) ? 1 : 0
    return seen
  }
}
