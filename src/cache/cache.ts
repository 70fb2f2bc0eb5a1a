// A cache as the application holds it: `uwsgi.cache('pages')`.
//
// Most methods are the native functions themselves, put on the handle as they
// are, so that a call costs what crossing the boundary costs. Only Buffers need
// work here: see slabs.ts.

import { UwsgiError } from '../errors.ts'
import { type BoundCache, native, type Refusal } from '../native.ts'
import { type ComputeOptions, getOrCompute } from './compute.ts'
import { LARGE, large, SMALL, small } from './slabs.ts'

/** Text (stored as UTF-8) or bytes. */
export type Bytes = string | Uint8Array

export interface CacheHandleOptions {
  /** Throw the reason of a refused `set`, `update`, `inc`, `dec`, `mul`, `div`, `getOrSet` or `cas` instead of returning false or null. */
  strict?: boolean
}

export class Cache {
  /** The name it was configured with. */
  readonly name: string

  /** The value as text (UTF-8), or null when absent: the fastest way to read. */
  readonly getString: (key: Bytes) => string | null

  /**
   * Copies the value to the beginning of an array of yours: the fastest way to read bytes, for no memory is made.
   * @returns its length, or null when absent. If that is more than the array has, nothing was copied.
   */
  readonly getInto: (key: Bytes, target: Uint8Array) => number | null

  /**
   * Stores a new item; an existing key is left as it is.
   * @param seconds time to live, fractions allowed; 0, the default, is for ever.
   * @returns false when refused: `refusal` tells why (EXISTS, FULL, VALUE_TOO_LARGE, KEY_TOO_LONG, KEY_EMPTY).
   */
  readonly set: (key: Bytes, value: Bytes, seconds?: number) => boolean

  /** Stores an item, new or not; as `set` otherwise. The time to live is replaced too. */
  readonly update: (key: Bytes, value: Bytes, seconds?: number) => boolean

  /**
   * Compare and set: stores `value` if the item's value is `expected`, byte for byte; null expects that there is no
   * item. The time to live is replaced too. So `while (!cas(key, old = getString(key), next(old)))` loses no change.
   * @returns false when it is another value, and when refused: `refusal` tells (CHANGED, EXISTS, ABSENT, FULL …).
   */
  readonly cas: (key: Bytes, expected: Bytes | null, value: Bytes, seconds?: number) => boolean

  /** Gives an item another time to live, from now; 0 is for ever. False when there is none. */
  readonly touch: (key: Bytes, seconds: number) => boolean

  /** Removes an item; false when there was none. */
  readonly del: (key: Bytes) => boolean

  /**
   * Removes the items whose keys begin with `prefix`, one after the other; returns how many. None that was there
   * before the call is left.
   */
  readonly delPrefix: (prefix: Bytes) => number

  /** Is there such an item? Counts neither as hit nor as miss. */
  readonly exists: (key: Bytes) => boolean

  /**
   * Adds to a 64-bit signed counter, atomically among all processes.
   * @param n safe integer or bigint, default 1; a bigint gives a bigint, exact beyond 2^53. Overflow wraps.
   * @param seconds time to live if this call creates the counter (which starts at `math_initial`, 0).
   * @returns the result; null when refused: NOT_A_NUMBER (the item is text, or not 8 bytes long), FULL …
   */
  readonly inc: Counting

  /** Subtracts from a counter; as `inc` otherwise. */
  readonly dec: Counting

  /** Multiplies a counter by n, default 2; as `inc` otherwise. */
  readonly mul: Counting

  /** Divides a counter by n, default 2, towards zero; as `inc` otherwise. Refused (DIVISION): by 0, and -2^63 by -1. */
  readonly div: Counting

  /** The counter as a number (rounded beyond 2^53), or null when absent or no counter. */
  readonly num: (key: Bytes) => number | null

  /** The counter as a bigint, or null when absent or no counter. */
  readonly bigNum: (key: Bytes) => bigint | null

  /** Seconds left to live; Infinity without a limit; null when absent. */
  readonly ttl: (key: Bytes) => number | null

  /** Removes every item; returns how many. What others store meanwhile may survive. */
  readonly clear: () => number

  readonly #native: BoundCache
  readonly #index: number
  readonly #strict: boolean

  /** Made by `uwsgi.cache(name)`. */
  constructor(name: string, index: number, { strict = false }: CacheHandleOptions = {}) {
    const bound = native.bindCache(index)
    this.#native = bound
    this.#index = index
    this.#strict = strict
    this.name = name
    this.getString = bound.getString
    this.getInto = bound.readInto
    this.touch = bound.touch
    this.del = bound.del
    this.delPrefix = bound.delPrefix
    this.exists = bound.exists
    this.num = bound.num
    this.bigNum = bound.bigNum
    this.ttl = bound.ttl
    this.clear = bound.clear
    if (strict) {
      this.set = (key, value, seconds) => bound.set(key, value, seconds) || this.#refuse()
      this.update = (key, value, seconds) => bound.update(key, value, seconds) || this.#refuse()
      this.cas = (key, expected, value, seconds) =>
        bound.cas(key, expected, value, seconds) || (this.#differs() ? false : this.#refuse())
      const strictly = (count: BoundCache['inc']) =>
        ((key: Bytes, n?: number, seconds?: number) => count(key, n, seconds) ?? this.#refuse()) as Counting
      this.inc = strictly(bound.inc)
      this.dec = strictly(bound.dec)
      this.mul = strictly(bound.mul)
      this.div = strictly(bound.div)
    } else {
      this.set = bound.set
      this.update = bound.update
      this.cas = bound.cas
      this.inc = bound.inc as Counting
      this.dec = bound.dec as Counting
      this.mul = bound.mul as Counting
      this.div = bound.div as Counting
    }
  }

  /** The value as a Buffer of its own, or null when absent. */
  get(key: Bytes): Buffer | null {
    const size = this.#native.read(key)
    if (size > SMALL) return large.take(size)
    if (size >= 0) return small.take(size)
    return size === -1 ? null : this.#more('read', key, -2 - size)
  }

  /** The values of several keys, null where absent, each as of its own moment. For text: `keys.map(cache.getString)`. */
  getMany(keys: Iterable<Bytes>): (Buffer | null)[] {
    return Array.from(keys, (key) => this.get(key))
  }

  /** Removes an item and returns its value, in one step: of several callers one gets it. Null when absent. */
  pop(key: Bytes): Buffer | null {
    const size = this.#native.pop(key)
    if (size >= 0) return large.take(size)
    return size === -1 ? null : this.#more('pop', key, -2 - size)
  }

  /**
   * The value there is, or else `value`, stored for `seconds`: all who ask get the same. Text when `value` is text.
   * @returns null when there was none and `value` is refused: `refusal` tells why.
   */
  getOrSet(key: Bytes, value: string, seconds?: number): string | null
  getOrSet(key: Bytes, value: Uint8Array, seconds?: number): Buffer | null
  getOrSet(key: Bytes, value: Bytes, seconds?: number): string | Buffer | null {
    for (;;) {
      const found = typeof value === 'string' ? this.getString(key) : this.get(key)
      if (found !== null) return found
      if (this.#native.set(key, value, seconds)) return typeof value === 'string' ? value : Buffer.from(value)
      // Somebody else was faster, and his item may be gone again.
      if (this.refusal !== 'EXISTS') return this.#strict ? this.#refuse() : null
    }
  }

  /**
   * The value there is, or else what `compute` gives, stored for `ttl` seconds. Of all processes and all callers one
   * computes, and the others wait for it without blocking; if it dies, at once another one computes. The callers of one
   * process share one computation, and what it throws; other processes then compute for themselves.
   * @throws (rejects) what `compute` throws; the signal's reason; UwsgiError COMPUTE_TIMEOUT, COMPUTE_CIRCLE, LEASES_FULL.
   */
  getOrCompute(
    key: Bytes,
    options: ComputeOptions & { as: 'buffer' },
    compute: () => Bytes | Promise<Bytes>,
  ): Promise<Buffer>
  getOrCompute(key: Bytes, options: ComputeOptions, compute: () => Bytes | Promise<Bytes>): Promise<string>
  async getOrCompute(
    key: Bytes,
    options: ComputeOptions,
    compute: () => Bytes | Promise<Bytes>,
  ): Promise<string | Buffer> {
    return await getOrCompute(this, this.#index, key, options, compute)
  }

  /**
   * Goes over the keys, some at a time, while everybody goes on: `for (const key of cache.scan({ prefix: 'user:' }))`.
   * A key that is there all the time comes exactly once; one that is stored or removed meanwhile may come or not.
   */
  scan(options?: { prefix?: Bytes; as?: 'text' }): Generator<string, void>
  scan(options: { prefix?: Bytes; as: 'buffer' }): Generator<Buffer, void>
  *scan({ prefix = '', as = 'text' }: { prefix?: Bytes; as?: 'text' | 'buffer' } = {}): Generator<string | Buffer> {
    for (let bucket = 0; bucket >= 0; ) {
      const [next, ...keys] = this.#native.scan(prefix, bucket, as === 'buffer')
      yield* keys
      bucket = next
    }
  }

  /** Every key, as text; `keys('buffer')` gives Buffers, for keys that are no UTF-8. */
  keys(): string[]
  keys(as: 'buffer'): Buffer[]
  keys(as?: 'buffer'): string[] | Buffer[] {
    return as === 'buffer' ? [...this.scan({ as })] : [...this.scan()]
  }

  /** Items stored, including those that have expired but were not swept yet. */
  get size(): number {
    return this.#native.size()
  }

  /** Why this handle's last write was refused; null when it was not. */
  get refusal(): Refusal | null {
    return this.#native.refusal()
  }

  /** The value did not fit into what is left of its slab. */
  #more(call: 'read' | 'pop', key: Bytes, needed: number): Buffer | null {
    if (needed <= LARGE) {
      // What `pop` will find it does not know before: it always takes the large one.
      if (call === 'read' && needed <= SMALL) small.renew()
      else large.renew()
      return call === 'read' ? this.get(key) : this.pop(key)
    }
    const own = Buffer.allocUnsafeSlow(needed)
    const size = large.lend(own.buffer, () => this.#native[call](key))
    if (size === -1) return null
    // It may have been replaced meanwhile, by a longer one or by a small one.
    if (size < -1) return this.#more(call, key, -2 - size)
    if (call === 'read' && size <= SMALL) return small.take(size)
    return size === needed ? own : own.subarray(0, size)
  }

  /** What `cas` found was not what was expected: an answer, in strict handles too. */
  #differs(): boolean {
    return ['CHANGED', 'EXISTS', 'ABSENT'].includes(this.refusal!)
  }

  #refuse(): never {
    throw new UwsgiError(this.#native.refusal() ?? 'ABSENT', this.name)
  }
}

export interface Counting {
  (key: Bytes, n?: number, seconds?: number): number | null
  (key: Bytes, n: bigint, seconds?: number): bigint | null
}
