// What the master says of its caches, in uWSGI's words.
//
// uWSGI's writers say so themselves, at every item, while all others wait for
// their lock. Here the master reads the counters once a second, and tells each
// kind of fullness once a minute: no writer is slower for it.

import { log } from '../log.ts'
import { type CacheFigures, native } from '../native.ts'
import type { Options } from '../options.ts'

const quietMs = 60_000

interface Watched {
  index: number
  isQuiet: boolean
  expired: number
  said: Map<string, { count: number; at: number }>
}

export class CacheReport {
  private readonly caches: Watched[]
  private readonly tellsFreed: boolean

  constructor({ cache2, cacheReportFreedItems }: Options) {
    this.tellsFreed = cacheReportFreedItems
    this.caches = cache2.map(({ ignore_full }, index) => {
      return { index, isQuiet: ignore_full, expired: 0, said: new Map() }
    })
  }

  look(now = performance.now()): void {
    for (const cache of this.caches) {
      const figures = native.cacheFigures(cache.index)
      const freed = figures.expired - cache.expired
      cache.expired = figures.expired
      if (freed > 0 && this.tellsFreed) log(`freed ${freed} items for cache "${figures.name}"`)
      if (!cache.isQuiet) tellFullness(cache, figures, now)
    }
  }
}

function tellFullness({ said }: Watched, figures: CacheFigures, now: number): void {
  for (const [line, count] of lines(figures)) {
    const last = said.get(line)
    if (count === (last?.count ?? 0) || (last !== undefined && now - last.at < quietMs)) continue
    said.set(line, { count, at: now })
    log(line)
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
