// What memory a process takes, from the kernel. statm is counters that the kernel
// keeps: it can be read at any time. For uss and pss it walks every page of the
// process, and waits while the process maps some; so these are read off the event
// loop, once in a while, and only when asked for (--memory-report).

import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

const pageSize = readPageSize()

/** Bytes; 0 where there is no process. */
export function memoryOf(pid: number): { rss: number; vsz: number } {
  if (pid !== 0) {
    try {
      const [pages, resident] = readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')
      return { rss: Number(resident) * pageSize, vsz: Number(pages) * pageSize }
    } catch {
      // it ended this moment
    }
  }
  return { rss: 0, vsz: 0 }
}

interface Share {
  uss: number
  pss: number
}

export class MemoryReport {
  private shares = new Map<number, Share>()
  private isLooking = false

  of(pid: number): Share {
    return this.shares.get(pid) ?? { uss: 0, pss: 0 }
  }

  async look(pids: readonly number[]): Promise<void> {
    if (this.isLooking) return
    this.isLooking = true
    const found = await Promise.all(pids.filter((pid) => pid !== 0).map(shareOf))
    this.shares = new Map(found)
    this.isLooking = false
  }
}

async function shareOf(pid: number): Promise<[pid: number, share: Share]> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1').catch(() => '')
  const bytes = (name: string) => Number(text.match(new RegExp(`^${name}: +(\\d+) kB`, 'm'))?.[1] ?? 0) * 1024
  const uss = bytes('Private_Clean') + bytes('Private_Dirty') + bytes('Private_Hugetlb')
  return [pid, { uss, pss: bytes('Pss') }]
}

/** The kernel tells each program at its start, in pairs of words: tag, value. */
function readPageSize(): number {
  const pageSizeTag = 6n
  try {
    const words = new BigUint64Array(new Uint8Array(readFileSync('/proc/self/auxv')).buffer)
    return Number(words[words.findIndex((tag, at) => at % 2 === 0 && tag === pageSizeTag) + 1])
  } catch {
    return 4096 // a node with file capabilities may not read its own
  }
}
