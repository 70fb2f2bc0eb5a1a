// Who goes when a cache is full, simulated: exact LRU, FIFO, SIEVE (NSDI '24),
// S3-FIFO (SOSP '23), from their published descriptions, and Belady's optimum.
// A simulator holds numbers above 0 and no values: it only says what would be there.

/** Whether the key is there; if not, it is stored. */
export type Policy = (key: number) => boolean

/** Of a cache for so many items, about keys up to `largestKey`. */
export type Simulator = (items: number, largestKey: number) => Policy

export const lru: Simulator = (items, largestKey) => {
  const queue = new Queue(largestKey)
  return (key) => {
    const isHit = queue.has(key)
    if (isHit) queue.remove(key)
    else if (queue.size === items) queue.remove(queue.oldest)
    queue.add(key)
    return isHit
  }
}

export const fifo: Simulator = (items, largestKey) => {
  const queue = new Queue(largestKey)
  return (key) => {
    if (queue.has(key)) return true
    if (queue.size === items) queue.remove(queue.oldest)
    queue.add(key)
    return false
  }
}

/** A hand goes from the oldest to the newest and spares who was visited. */
export const sieve: Simulator = (items, largestKey) => sieveWhoseHand('returns', items, largestKey)

/** The engine's: a hand that has come past the newest does not go back to the oldest yet, but waits for the next. */
export const patientSieve: Simulator = (items, largestKey) => sieveWhoseHand('waits', items, largestKey)

function sieveWhoseHand(atTheEnd: 'returns' | 'waits', items: number, largestKey: number): Policy {
  const queue = new Queue(largestKey)
  const visited = new Uint8Array(largestKey + 1)
  let hand = 0
  return (key) => {
    if (queue.has(key)) {
      visited[key] = 1
      return true
    }
    if (queue.size === items) {
      let victim = hand || queue.oldest
      while (visited[victim]) {
        visited[victim] = 0
        victim = queue.after(victim) || queue.oldest
      }
      hand = queue.after(victim)
      if (hand === 0 && atTheEnd === 'waits') hand = key
      queue.remove(victim)
    }
    visited[key] = 0
    queue.add(key)
    return false
  }
}

/** A tenth for the new ones; the rest for those who were used twice there, or asked for again soon after they went. */
export const s3fifo: Simulator = (items, largestKey) => {
  const [small, main, ghost] = [new Queue(largestKey), new Queue(largestKey), new Queue(largestKey)]
  const uses = new Uint8Array(largestKey + 1)
  const mostInSmall = Math.max(1, Math.floor(items / 10))
  const mostInMain = items - mostInSmall

  function evictFromMain(): void {
    for (;;) {
      const key = main.oldest
      main.remove(key)
      if (uses[key] === 0) return
      uses[key]!--
      main.add(key)
    }
  }

  function evictFromSmall(): void {
    while (small.size > 0) {
      const key = small.oldest
      small.remove(key)
      if (uses[key]! <= 1) {
        ghost.add(key)
        if (ghost.size > mostInMain) ghost.remove(ghost.oldest)
        return
      }
      if (main.size >= mostInMain) evictFromMain()
      uses[key] = 0
      main.add(key)
    }
  }

  return (key) => {
    if (small.has(key) || main.has(key)) {
      uses[key] = Math.min(uses[key]! + 1, 3)
      return true
    }
    while (small.size + main.size >= items)
      if (small.size >= mostInSmall) evictFromSmall()
      else evictFromMain()
    uses[key] = 0
    if (ghost.has(key)) {
      ghost.remove(key)
      main.add(key)
    } else small.add(key)
    return false
  }
}

/** Who is wanted last goes: no policy hits more often. It must be asked for the keys of `trace`, in order. */
export function optimum(trace: Int32Array, items: number, largestKey: number): Policy {
  const never = trace.length
  const next = new Int32Array(trace.length)
  const soonest = new Int32Array(largestKey + 1).fill(never)
  for (let at = trace.length - 1; at >= 0; at--) {
    next[at] = soonest[trace[at]!]!
    soonest[trace[at]!] = at
  }
  const isThere = new Uint8Array(largestKey + 1)
  const wanted = new Heap(trace.length) // when those who are there will be; what is past lies at the bottom
  let size = 0
  let unwanted = 0
  let now = 0
  return (key) => {
    const isHit = isThere[key] === 1
    if (!isHit && size === items) {
      size--
      if (unwanted > 0) unwanted--
      else isThere[trace[wanted.takeHighest()]!] = 0
    }
    if (!isHit) size++
    isThere[key] = 1
    const then = next[now++]!
    if (then === never) unwanted++
    else wanted.add(then)
    return isHit
  }
}

/** A ring of keys from the oldest to the newest; 0 stands between the two. */
class Queue {
  size = 0
  private readonly newer: Int32Array
  private readonly older: Int32Array
  private readonly member: Uint8Array

  constructor(largestKey: number) {
    this.newer = new Int32Array(largestKey + 1)
    this.older = new Int32Array(largestKey + 1)
    this.member = new Uint8Array(largestKey + 1)
  }

  get oldest(): number {
    return this.newer[0]!
  }

  after(key: number): number {
    return this.newer[key]!
  }

  has(key: number): boolean {
    return this.member[key] === 1
  }

  add(key: number): void {
    const newest = this.older[0]!
    this.newer[newest] = key
    this.older[key] = newest
    this.newer[key] = 0
    this.older[0] = key
    this.member[key] = 1
    this.size++
  }

  remove(key: number): void {
    const [newer, older] = [this.newer[key]!, this.older[key]!]
    this.newer[older] = newer
    this.older[newer] = older
    this.member[key] = 0
    this.size--
  }
}

class Heap {
  private readonly values: Int32Array
  private size = 0

  constructor(most: number) {
    this.values = new Int32Array(most)
  }

  add(value: number): void {
    let at = this.size++
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (this.values[parent]! >= value) break
      this.values[at] = this.values[parent]!
      at = parent
    }
    this.values[at] = value
  }

  takeHighest(): number {
    const highest = this.values[0]!
    const last = this.values[--this.size]!
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child + 1 < this.size && this.values[child + 1]! > this.values[child]!) child++
      if (child >= this.size || this.values[child]! <= last) break
      this.values[at] = this.values[child]!
      at = child
    }
    this.values[at] = last
    return highest
  }
}
