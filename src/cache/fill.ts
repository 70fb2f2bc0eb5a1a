// What is in the caches before the application starts: --add-cache-item,
// --load-file-in-cache and --load-file-in-cache-gzip, each for one cache or for all.
//
// uWSGI takes whatever stands before the first blank for a cache's name, and drops
// in silence what then names none. Here a name is one only if such a cache exists,
// or if nothing else can be meant; what is left over is refused, before the start.

import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { UwsgiError } from '../errors.ts'
import { log } from '../log.ts'
import { type BoundCache, native } from '../native.ts'
import type { Options } from '../options.ts'

interface Item {
  /** Where it goes; every cache without. */
  cache: string | undefined
  key: string
  value: string | Buffer
  /** In the log line. */
  how: 'cache' | 'cache-gzip'
}

/** Reads all that is to be stored; the result stores it, once the caches are there. */
export function filling({ cache2, addCacheItem, loadFileInCache, loadFileInCacheGzip }: Options): () => void {
  const names = cache2.map(({ name }) => name)
  const items = [
    ...loadFileInCache.map((given) => fileOf(given, names, '--load-file-in-cache')),
    ...loadFileInCacheGzip.map((given) => zipped(fileOf(given, names, '--load-file-in-cache-gzip'))),
    ...addCacheItem.map((given) => itemOf(given, names)),
  ]
  if (items.length > 0 && names.length === 0)
    throw new UwsgiError('UNKNOWN_CACHE', '(any)', 'none; start with --cache2')
  return () => {
    for (const [index, name] of names.entries()) {
      const its = items.filter(({ cache = name }) => cache === name)
      if (its.length > 0) store(its, name, native.bindCache(index))
    }
  }
}

function store(items: Item[], name: string, cache: BoundCache): void {
  for (const { key, value, how } of items)
    if (cache.set(key, value)) log(`[${how}] stored "${key}" in "${name}"`)
    else log(`[cache-error] unable to store "${key}" in "${name}" (${cache.refusal()})`)
}

function itemOf(given: string, names: string[]): Item {
  const { cache, rest } = addressed(given, names)
  const equals = rest.indexOf('=')
  if (equals < 1) throw new UwsgiError('OPTION_VALUE', '--add-cache-item', `'${given}'`, 'KEY=VALUE or CACHE KEY=VALUE')
  const key = rest.slice(0, equals)
  // `pagse front=…` looks like a key with a blank in it, and is a misspelt cache.
  if (cache === undefined && key.includes(' '))
    throw new UwsgiError('UNKNOWN_CACHE', key.slice(0, key.indexOf(' ')), names.join(', '))
  return { cache, key, value: rest.slice(equals + 1), how: 'cache' }
}

function fileOf(given: string, names: string[], option: string): Item {
  const { cache, rest } = addressed(given, names)
  try {
    return { cache, key: rest, value: readFileSync(rest), how: 'cache' }
  } catch (error) {
    throw new UwsgiError('FILE_UNREADABLE', option, rest, (error as NodeJS.ErrnoException).code)
  }
}

function zipped(item: Item): Item {
  return { ...item, value: gzipSync(item.value), how: 'cache-gzip' }
}

/** `pages rest of it` */
function addressed(given: string, names: string[]): { cache: string | undefined; rest: string } {
  const cache = names.find((name) => given.startsWith(`${name} `))
  return { cache, rest: cache === undefined ? given : given.slice(cache.length + 1) }
}
