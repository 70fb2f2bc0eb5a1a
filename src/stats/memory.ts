// uss and pss of the workers. The kernel walks every page of a process for them,
// and waits while the process maps some; so these are read off the event loop, once
// in a while, and only when asked for (--memory-report).

import { readFile } from 'node:fs/promises'

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
