// What every side of the cache benchmark is given: the same keys, sizes and clock.

export const sizes = [32, 100, 1024, 16384]

/** 4096 keys of 16 bytes, in an order that is always the same and never sorted. */
export function makeKeys(kind: 'key' | 'not' = 'key'): string[] {
  const keys: string[] = []
  // A full-period generator: every number below 4096 once.
  for (let i = 0, n = 1; i < 4096; i++, n = (n * 1229 + 1) % 4096)
    keys.push(flat(`${kind}:${n.toString(16).padStart(12, '0')}`))
  return keys
}

/** The order in which stores are filled: not the one they are read in, or memory would be walked in a straight line. */
export function inOrder(keys: string[]): string[] {
  return keys.toSorted()
}

/** The second of a pair begins half-way: two processes in step would meet at every key. */
export function turned<T>(all: readonly T[]): T[] {
  const first = Number(process.argv[2] ?? 0) * (all.length / 2)
  return [...all.slice(first), ...all.slice(0, first)]
}

/** Milliseconds of the monotonic clock, which all processes share. */
export function milliseconds(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** A string made by concatenation is a tree until someone reads it; a key in hand is not. */
function flat(text: string): string {
  return Buffer.from(text).toString('latin1')
}
