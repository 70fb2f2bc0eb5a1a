// One metric, bound: `uwsgi.metric('orders')`.
//
// Counting is the hottest thing there is, so it never leaves JavaScript: this
// thread has a cell of its own for each metric, 64 bits of shared memory that
// nobody else writes, and the value is the sum of all threads' cells and a base.
// Adding a bigint to a BigInt64Array makes no bigint once the code is compiled:
// it is one addition in memory. Everything but counting is a call.

import { UwsgiError } from '../errors.ts'
import { native } from '../native.ts'
import type { MetricKind } from './kinds.ts'
import type { MetricSpec } from './registry.ts'

/** As metrics.hpp numbers them. */
const changes = { add: 0, set: 1, mul: 2, div: 3, max: 4, min: 5 } as const

let row: BigInt64Array | undefined

/** This thread's cells, one for each metric that is counted. */
function cellsOfThread(): BigInt64Array {
  row ??= new BigInt64Array(native.metricRow())
  return row
}

const none = new BigInt64Array(0)

export class Metric {
  readonly name: string
  /** Relative to 1.3.6.1.4.1.35156.17; empty when it has none. */
  readonly oid: string
  readonly type: MetricKind

  readonly #index: number
  readonly #cells: BigInt64Array
  readonly #cell: number
  /** Is there such a cell? Not where metrics are computed, nor where V8 keeps foreign memory out. */
  readonly #isLent: boolean

  /** Made by `uwsgi.metric(name)` and `uwsgi.defineMetric(name)`. */
  constructor({ index, name, oid, type, cell }: MetricSpec) {
    this.name = name
    this.oid = oid
    this.type = type
    this.#index = index
    this.#cell = cell
    this.#cells = cell >= 0 ? cellsOfThread() : none
    this.#isLent = cell >= 0 && cell < this.#cells.length
  }

  /**
   * Adds n, atomically among all processes and threads; wraps at 64 bits.
   * @param n whole: a safe integer, or a bigint of 64 bits.
   * @throws UwsgiError METRIC_COMPUTED for a metric that is not the application's.
   */
  inc(n: number | bigint = 1): void {
    const sum = typeof n === 'number' && (n | 0) === n ? BigInt(n) : whole(n)
    if (this.#isLent) this.#cells[this.#cell]! += sum
    else this.#change(changes.add, sum)
  }

  /** Subtracts n; as `inc` otherwise. */
  dec(n: number | bigint = 1): void {
    this.inc(typeof n === 'number' ? -n : BigInt.asIntN(64, -whole(n)))
  }

  /** Makes it n. What others count at this very moment counts on top. */
  set(n: number | bigint = 1): void {
    this.#change(changes.set, whole(n))
  }

  mul(n: number | bigint = 1): void {
    this.#change(changes.mul, whole(n))
  }

  /** Divides, towards zero; false, and nothing is done, when n is 0. */
  div(n: number | bigint = 1): boolean {
    const divisor = whole(n)
    if (divisor === 0n) return false
    this.#change(changes.div, divisor)
    return true
  }

  /** Makes it n if n is more. */
  setMax(n: number | bigint = 1): void {
    this.#change(changes.max, whole(n))
  }

  /** Makes it n if n is less. */
  setMin(n: number | bigint = 1): void {
    this.#change(changes.min, whole(n))
  }

  /** The sum over all processes; rounded beyond 2^53. */
  get value(): number {
    return native.metricValue(this.#index)
  }

  /** The same, exact. */
  get bigValue(): bigint {
    return native.metricBigValue(this.#index)
  }

  /** May it be written, or does uwshm feed it? */
  get isCounted(): boolean {
    return this.#cell >= 0
  }

  #change(change: number, n: bigint): void {
    if (!native.changeMetric(this.#index, change, n)) throw new UwsgiError('METRIC_COMPUTED', this.name)
  }
}

function whole(n: number | bigint): bigint {
  if (typeof n === 'bigint' ? BigInt.asIntN(64, n) === n : Number.isSafeInteger(n)) return BigInt(n)
  throw new TypeError(`a metric takes whole numbers of 64 bits, not ${String(n)}`)
}
