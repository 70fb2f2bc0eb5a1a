// What memory a process takes, from two counters that the kernel keeps anyway: it
// can be read at any time.

import { readFileSync } from 'node:fs'

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
