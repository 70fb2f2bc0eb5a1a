// Locks taken without leaving JavaScript.
//
// A call into native code costs as much as two atomic instructions. So the main thread
// of a process does the plain cases here, in the shared memory of the locks: one
// compare-and-swap to take what is free, one to let go of what nobody waits for, and
// the same notes in between, in the same order, as UserLocks::TryLock and Unlock
// write them. user_locks_layout.hpp draws the bytes, says why half of the word is
// enough, and what a death leaves between two stores.
//
// Whatever is not plain is refused here and left to native code: somebody has it, somebody
// waits, the owner before has died, it was taken more than once, or it was held for so
// long that the longest hold may have to be noted.

import { native } from '../native.ts'

// The fields of a lock, in units of 4 and of 8 bytes.
const lockSize = 256
const noteToken = 2
const noteThread = 3
const noteParent = 4
const noteDepth = 5
const since = 3
const acquisitions = 4
const mainToken = 1

/** Takes a lock that is plainly free. */
export let take: (lock: number) => boolean = () => false
/** Lets go of a lock that this thread took, if that takes no more than a store. */
export let release: (lock: number) => boolean = () => false

/** Once this thread may use locks. What does not change stands in a closure, where the compiler knows that it does not: a quarter of the time. */
export function borrowLocks(): void {
  const lent = native.lockLent()
  if (lent.length === 0) return
  const [memory, locksAt, tickAt, low, thread] = lent
  const words = new Int32Array(memory)
  const longs = new BigInt64Array(memory)
  /** By lock: this thread took it. Nobody else can take that away. */
  const isOurs = new Uint8Array((memory.byteLength - locksAt) / lockSize)
  const me = low | 0
  const tick = tickAt / 8
  const first = locksAt / 4

  take = (lock) => {
    const word = first + lock * (lockSize / 4)
    if (Atomics.compareExchange(words, word, 0, me) !== 0) return false
    words[word + noteThread] = thread
    words[word + noteParent] = 0
    words[word + noteDepth] = 1
    longs[(word >> 1) + since] = longs[tick]!
    longs[(word >> 1) + acquisitions]! += 1n
    words[word + noteToken] = mainToken
    isOurs[lock] = 1
    return true
  }

  release = (lock) => {
    if (isOurs[lock] !== 1) return false
    isOurs[lock] = 0
    const word = first + lock * (lockSize / 4)
    if (words[word + noteDepth] !== 1 || longs[(word >> 1) + since] !== longs[tick]) return false
    words[word + noteToken] = 0
    return Atomics.compareExchange(words, word, me, 0) === me
  }
}
