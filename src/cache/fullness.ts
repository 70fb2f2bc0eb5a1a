// Says that caches are full, in uWSGI's words.
//
// uWSGI's writers say so themselves, at every item, while all others wait for
// their lock. Here the master reads the counters once a second: one line a
// minute of each kind and cache, and no writer is slower for it.

import { log } from '../log.ts'
import { type CacheFigures, native } from '../native.ts'
import type { CacheOptions } from '../options.ts'

const QUIET = 60_000

export class Fullness {
  private readonly watched: { index: number; said: Map<string, { count: number; at: number }> }[]

  constructor(caches: readonly CacheOptions[]) {
    this.watched = caches.flatMap((cache, index) => (cache.ignore_full ? [] : [{ index, said: new Map() }]))
  }

  look(now = performance.now()): void {
    for (const { index, said } of this.watched)
      for (const [line, count] of lines(native.cacheFigures(index))) {
        const last = said.get(line)
        if (count === (last?.count ?? 0) || (last !== undefined && now - last.at < QUIET)) continue
        said.set(line, { count, at: now })
        log(line)
      }
  }
}

/** The lines, each with the counter of what it tells. */
function lines({ name, policy, full, evictions }: CacheFigures): [line: string, count: number][] {
  const danger = `*** DANGER cache "${name}" is FULL !!! ***`
  if (policy === 'none') return [[danger, full + evictions]]
  return [
    [danger, full],
    [`LRU item will be purged from cache "${name}"`, evictions],
  ]
}
