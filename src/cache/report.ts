// What the master says of its caches, in uWSGI's words. It looks at their figures
// now and then: a writer that finds its cache full has better things to do than to
// write to a log, and one line a second says as much as thousands.

import { log } from '../log.ts'
import { type CacheFigures, native } from '../native.ts'
import type { Options } from '../options.ts'

export class CacheReport {
  private readonly caches: { name: string; index: number; isQuiet: boolean; last: CacheFigures }[]
  private readonly tellsFreed: boolean

  constructor({ cache2, cacheReportFreedItems }: Options) {
    this.tellsFreed = cacheReportFreedItems
    this.caches = cache2.map(({ name, ignore_full }, index) => {
      return { name, index, isQuiet: ignore_full, last: native.cacheFigures(index) }
    })
  }

  look(): void {
    for (const cache of this.caches) {
      const { last, name, isQuiet } = cache
      const now = native.cacheFigures(cache.index)
      if (now.refused.FULL > last.refused.FULL && !isQuiet) log(`*** DANGER cache "${name}" is FULL !!! ***`)
      const freed = now.expired - last.expired
      if (freed > 0 && this.tellsFreed) log(`freed ${freed} items for cache "${name}"`)
      cache.last = now
    }
  }
}
