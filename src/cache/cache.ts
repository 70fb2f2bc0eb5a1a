// A cache as the application holds it: `uwsgi.cache('pages')`.
//
// Most methods are the native functions themselves, put on the handle as they
// are, so that a call costs what crossing the boundary costs. Only Buffers need
// work here: native code copies the value into a *slab* that JavaScript made,
// and we return a view of it. That is several times faster than a Buffer that
// native code allocates; slabs are small, so that one kept view pins little.

import { markAsUntransferable } from 'node:worker_threads'
import { UwsgiError } from '../errors.ts'
import { type BoundCache, native, type Refusal } from '../native.ts'

/** Text (stored as UTF-8) or bytes. */
export type Bytes = string | Uint8Array

export interface CacheHandleOptions {
  /** Throw the reason of a refused `set`, `update`, `inc` or `dec` instead of returning false or null. */
  strict?: boolean
}

const SLAB = 16384
const OWN = 4096 // values above get memory of their own

// The class that Buffer's own methods construct: a Buffer over given memory, without the checks of Buffer.from.
const FastBuffer = (Buffer as unknown as Record<symbol, new (m: ArrayBuffer, at: number, size: number) => Buffer>)[
  Symbol.species
]!

let slab = new ArrayBuffer(0)
let position = 0

function newSlab(): void {
  // Not zeroed, unlike a new ArrayBuffer: every byte that a view shows is written first.
  const fresh = Buffer.allocUnsafeSlow(SLAB).buffer
  markAsUntransferable(fresh) // a transfer would pull the ground away from every other view
  // Ours follows only when native code has it: any call may throw where the stack ends.
  native.slab(fresh, 0)
  slab = fresh
  position = 0
}

export class Cache {
  /** The name it was configured with. */
  readonly name: string

  /** The value as text (UTF-8), or null when absent: the fastest way to read. */
  readonly getString: (key: Bytes) => string | null

  /**
   * Stores a new item; an existing key is left as it is.
   * @param seconds time to live, fractions allowed; 0, the default, is for ever.
   * @returns false when refused: `refusal` tells why (EXISTS, FULL, VALUE_TOO_LARGE, KEY_TOO_LONG, KEY_EMPTY).
   */
  readonly set: (key: Bytes, value: Bytes, seconds?: number) => boolean

  /** Stores an item, new or not; as `set` otherwise. The time to live is replaced too. */
  readonly update: (key: Bytes, value: Bytes, seconds?: number) => boolean

  /** Removes an item; false when there was none. */
  readonly del: (key: Bytes) => boolean

  /** Is there such an item? Counts neither as hit nor as miss. */
  readonly exists: (key: Bytes) => boolean

  /**
   * Adds to a 64-bit signed counter, atomically among all processes.
   * @param n safe integer or bigint, default 1; a bigint gives a bigint, exact beyond 2^53. Overflow wraps.
   * @param seconds time to live if this call creates the counter (which starts at 0).
   * @returns the result; null when refused: NOT_A_NUMBER (the item is text, or not 8 bytes long), FULL …
   */
  readonly inc: Counting

  /** Subtracts from a counter; as `inc` otherwise. */
  readonly dec: Counting

  /** The counter as a number (rounded beyond 2^53), or null when absent or no counter. */
  readonly num: (key: Bytes) => number | null

  /** The counter as a bigint, or null when absent or no counter. */
  readonly bigNum: (key: Bytes) => bigint | null

  /** Seconds left to live; Infinity without a limit; null when absent. */
  readonly ttl: (key: Bytes) => number | null

  /** Removes every item; returns how many. What others store meanwhile may survive. */
  readonly clear: () => number

  readonly #native: BoundCache

  /** Made by `uwsgi.cache(name)`. */
  constructor(name: string, index: number, { strict = false }: CacheHandleOptions = {}) {
    const bound = native.bindCache(index)
    this.#native = bound
    this.name = name
    this.getString = bound.getString
    this.del = bound.del
    this.exists = bound.exists
    this.num = bound.num
    this.bigNum = bound.bigNum
    this.ttl = bound.ttl
    this.clear = bound.clear
    if (strict) {
      this.set = (key, value, seconds) => bound.set(key, value, seconds) || this.#refuse()
      this.update = (key, value, seconds) => bound.update(key, value, seconds) || this.#refuse()
      this.inc = ((key: Bytes, n?: number, seconds?: number) =>
        bound.inc(key, n, seconds) ?? this.#refuse()) as Counting
      this.dec = ((key: Bytes, n?: number, seconds?: number) =>
        bound.dec(key, n, seconds) ?? this.#refuse()) as Counting
    } else {
      this.set = bound.set
      this.update = bound.update
      this.inc = bound.inc as Counting
      this.dec = bound.dec as Counting
    }
  }

  /** The value as a Buffer of its own, or null when absent. */
  get(key: Bytes): Buffer | null {
    const size = this.#native.read(key)
    if (size === -1) return null
    if (size < -1) return this.#getLarge(key, -2 - size)
    const at = position
    position += (size + 7) & ~7 // as native code moves on
    return new FastBuffer(slab, at, size)
  }

  /** Every key, as text; `keys('buffer')` gives Buffers, for keys that are no UTF-8. */
  keys(): string[]
  keys(as: 'buffer'): Buffer[]
  keys(as?: 'buffer'): string[] | Buffer[] {
    const keys = this.#native.keys()
    return as === 'buffer' ? keys : keys.map(String)
  }

  /** Items stored, including those that have expired but were not swept yet. */
  get size(): number {
    return this.#native.size()
  }

  /** Why this handle's last write was refused; null when it was not. */
  get refusal(): Refusal | null {
    return this.#native.refusal()
  }

  /** The value did not fit into what is left of the slab. */
  #getLarge(key: Bytes, needed: number): Buffer | null {
    if (needed <= OWN) {
      newSlab()
      return this.get(key)
    }
    const own = Buffer.allocUnsafeSlow(needed)
    const size = this.#readTo(own.buffer, key)
    if (size === -1) return null
    // It may have been replaced by a longer one meanwhile.
    if (size < -1) return this.#getLarge(key, -2 - size)
    return size === needed ? own : own.subarray(0, size)
  }

  /** Native code must not be left with memory that only this call keeps alive, whatever `read` throws. */
  #readTo(memory: ArrayBuffer, key: Bytes): number {
    try {
      native.slab(memory, 0)
      return this.#native.read(key)
    } finally {
      native.slab(slab, position)
    }
  }

  #refuse(): never {
    throw new UwsgiError(this.#native.refusal() ?? 'ABSENT', this.name)
  }
}

export interface Counting {
  (key: Bytes, n?: number, seconds?: number): number | null
  (key: Bytes, n: bigint, seconds?: number): bigint | null
}
