// Who holds which lock, as operators see it.

import { native } from '../native.ts'

/** uWSGI's shape: one object per lock, user locks first, with the holder's pid or 0. */
export function lockRows(): Record<string, number>[] {
  return native.locks().map(([name, pid]) => ({ [name]: pid }))
}

const kinds = ['plain', 'fair', 'rw']

/**
 * What uWSGI does not count: one row for each user lock, then one for each structure with locks of the engine. Times in
 * microseconds. Those locks are held for a few stores, by one who cannot be asked how long: no longest hold; and nobody
 * could take a waiter that is killed off a count: no waiters.
 */
export function lockFigures() {
  const engine = native.lockEngineName()
  return [
    ...native.lockFigures().map(({ name, kind, waitUs, longestHoldUs, recoveries, waiters, ...rest }) => ({
      name,
      kind: kinds[kind] ?? 'plain',
      ...rest,
      wait_us: waitUs,
      longest_hold_us: longestHoldUs,
      recoveries,
      waiters,
      engine: 'word',
    })),
    ...native.structureLocks().map(({ name, waitUs, recoveries, ...rest }) => ({
      name,
      kind: 'internal',
      ...rest,
      wait_us: waitUs,
      recoveries,
      engine,
    })),
  ]
}
