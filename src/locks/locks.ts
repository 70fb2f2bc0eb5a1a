// Who holds which lock, as operators see it.

import { native } from '../native.ts'

/** uWSGI's shape: one object per lock, user locks first, with the holder's pid or 0. */
export function lockRows(): Record<string, number>[] {
  return native.locks().map(([name, pid]) => ({ [name]: pid }))
}

const kinds = ['plain', 'fair', 'rw']

/** What uWSGI does not count: one row for each user lock. Times in microseconds. */
export function lockFigures() {
  return native.lockFigures().map(({ name, kind, pid, acquisitions, contended, waitUs, longestHoldUs, ...rest }) => ({
    name,
    kind: kinds[kind] ?? 'plain',
    pid,
    acquisitions,
    contended,
    wait_us: waitUs,
    longest_hold_us: longestHoldUs,
    recoveries: rest.recoveries,
    waiters: rest.waiters,
  }))
}
