// The `uwsgi` object that applications import: uWSGI's function names,
// camel-cased, with uWSGI's argument order. A cache left out, or '', is the
// first one. docs/differences.md lists where results differ from uWSGI's.

import { type Bytes, Cache, type CacheHandleOptions, type Counting } from './cache/cache.ts'
import type { ComputeOptions } from './cache/compute.ts'
import { UwsgiError } from './errors.ts'
import { group } from './group.ts'
import { join } from './instance.ts'
import {
  type AsyncLockOptions,
  type Hold,
  type LockOptions,
  type NamedLockOptions,
  type RwLock,
  type UserLock,
  userLocks,
} from './locks/user.ts'
import { metricCalls } from './metrics/metrics.ts'
import { native } from './native.ts'

const handles = new Map<string, Cache>()
const strictHandles = new Map<string, Cache>()

/** The cache of that name, bound once per thread. */
function named(name: string): Cache {
  return handles.get(name) ?? bind(name)
}

function bind(name: string): Cache {
  if (typeof name !== 'string') throw new TypeError('a cache is named by a string; left out, it is the first one')
  join()
  const names = native.cacheNames()
  const index = name === '' ? 0 : names.indexOf(name)
  if (index === -1 || names.length === 0)
    throw new UwsgiError('UNKNOWN_CACHE', name || '(the first one)', names.join(', ') || 'none; start with --cache2')
  const cache = new Cache(names[index]!, index)
  handles.set(name, cache)
  return cache
}

const caches = {
  /**
   * The bound handle of a cache: the fast way, and the one with `ttl`, `refusal` and more.
   * @param name of the cache; '' or nothing is the first one.
   * @param options `strict: true` makes refused writes throw their reason.
   * @throws UwsgiError UNKNOWN_CACHE, NOT_ATTACHED.
   */
  cache(name = '', options?: CacheHandleOptions): Cache {
    const cache = named(name)
    if (!options?.strict) return cache
    // Kept, too: what native code binds to a handle stays as long as its thread.
    let strict = strictHandles.get(cache.name)
    if (strict === undefined) {
      strict = new Cache(cache.name, native.cacheNames().indexOf(cache.name), options)
      strictHandles.set(cache.name, strict)
    }
    return strict
  },

  /** The value, or null when absent. */
  cacheGet(key: Bytes, cache = ''): Buffer | null {
    return named(cache).get(key)
  },

  /** Stores a new item, `expires` seconds from now (0 = never); false when the key exists, or when refused. */
  cacheSet(key: Bytes, value: Bytes, expires = 0, cache = ''): boolean {
    return named(cache).set(key, value, expires)
  },

  /** Stores an item, new or not; false when refused. */
  cacheUpdate(key: Bytes, value: Bytes, expires = 0, cache = ''): boolean {
    return named(cache).update(key, value, expires)
  },

  /** Removes an item; false when absent. */
  cacheDel(key: Bytes, cache = ''): boolean {
    return named(cache).del(key)
  },

  /** Is there such an item? */
  cacheExists(key: Bytes, cache = ''): boolean {
    return named(cache).exists(key)
  },

  /** Removes every item. Always true. */
  cacheClear(cache = ''): boolean {
    named(cache).clear()
    return true
  },

  /** Every key, as text. */
  cacheKeys(cache = ''): string[] {
    return named(cache).keys()
  },

  /** Adds n (1) to a 64-bit counter and returns the result; `expires` counts when this call creates it. */
  cacheInc: ((key: Bytes, n?: number, expires = 0, cache = '') => named(cache).inc(key, n, expires)) as CacheCounting,

  /** Subtracts n (1) from a counter and returns the result. */
  cacheDec: ((key: Bytes, n?: number, expires = 0, cache = '') => named(cache).dec(key, n, expires)) as CacheCounting,

  /** Multiplies a counter by n (2) and returns the result. */
  cacheMul: ((key: Bytes, n?: number, expires = 0, cache = '') => named(cache).mul(key, n, expires)) as CacheCounting,

  /** Divides a counter by n (2), towards zero, and returns the result; null by 0. */
  cacheDiv: ((key: Bytes, n?: number, expires = 0, cache = '') => named(cache).div(key, n, expires)) as CacheCounting,

  /** The value, or else what `compute` gives; of all processes one computes. See `Cache.getOrCompute`. */
  async getOrCompute(
    key: Bytes,
    { cache = '', ...options }: ComputeOptions & { cache?: string },
    compute: () => Bytes | Promise<Bytes>,
  ): Promise<string | Buffer> {
    return await named(cache).getOrCompute(key, options, compute)
  },

  /** The counter; null when absent or no counter (uWSGI: 0). */
  cacheNum(key: Bytes, cache = ''): number | null {
    return named(cache).num(key)
  },
}

/** By descriptors: a spread would read the getters, which need a master. */
export const uwsgi: typeof caches & typeof userLocks & typeof metricCalls & typeof group = Object.defineProperties(
  { ...caches, ...userLocks } as typeof caches & typeof userLocks & typeof metricCalls & typeof group,
  { ...Object.getOwnPropertyDescriptors(metricCalls), ...Object.getOwnPropertyDescriptors(group) },
)

type CacheCounting = {
  (key: Bytes, n?: number, expires?: number, cache?: string): number | null
  (key: Bytes, n: bigint, expires?: number, cache?: string): bigint | null
}

export type {
  AsyncLockOptions,
  Bytes,
  Cache,
  CacheHandleOptions,
  ComputeOptions,
  Counting,
  Hold,
  LockOptions,
  NamedLockOptions,
  RwLock,
  UserLock,
}
