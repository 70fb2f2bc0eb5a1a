// What memory a process takes, from the kernel: two counters that it keeps anyway.

import { readFileSync } from 'node:fs'

const pageSize = 4096 // of linux on x64

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
