// --metric-threshold: an alarm when a metric reaches a value.
//
// Without `clear` as in uWSGI: at every look at which it is so, at most every `rate`
// seconds; and `reset` is stored whether the alarm was raised or not. All
// thresholds of a metric see the same value.
//
// With `clear` a threshold has a memory: it is raised once, again every `rate` seconds
// if there is a rate, and when the metric is back at `clear` that is told, too:
// `cleared: …`. In between, a value that goes to and fro says nothing.

import { native } from '../native.ts'
import type { Comparison, ThresholdOptions } from '../options.ts'

/** A threshold, and where its metric is. */
export interface PlannedThreshold {
  options: ThresholdOptions
  index: number
  /** Where `reset` goes: of an alias, its target. */
  target: number
  isCounted: boolean
  /** Its collector says when to look; of all others we look ourselves, every so many seconds. */
  isCollected: boolean
  freq: number
}

/** False: the alarm has dropped it. */
export type Raise = (alarm: string, message: string) => boolean

const set = 1
const compare: Record<Comparison, (value: bigint, other: bigint) => boolean> = {
  ge: (value, other) => value >= other,
  gt: (value, other) => value > other,
  le: (value, other) => value <= other,
  lt: (value, other) => value < other,
  eq: (value, other) => value === other,
  ne: (value, other) => value !== other,
}

export class Threshold {
  readonly plan: PlannedThreshold
  private readonly raise: Raise
  private raisedAt = -Infinity
  /** With `clear`: is it beyond, and has that been told? */
  private isBeyond = false
  private isTold = false

  constructor(plan: PlannedThreshold, raise: Raise) {
    this.plan = plan
    this.raise = raise
  }

  look(value: bigint, nowMs = performance.now()): void {
    const { op, value: limit, clear, reset, alarm } = this.plan.options
    const isReached = compare[op](value, limit)
    if (isReached && reset !== null) this.store(reset)
    if (alarm === '') return
    if (clear === null) {
      if (isReached) this.tell(nowMs)
      return
    }
    if (isReached) this.isBeyond = true
    else if (this.isBeyond) this.isBeyond = op === 'ge' || op === 'gt' ? value > clear : value < clear
    this.tellOfChange(nowMs)
  }

  /** What the alarm has dropped is told at the next look. */
  private tellOfChange(nowMs: number): void {
    const { rate, alarm } = this.plan.options
    if (this.isBeyond && (!this.isTold || rate > 0)) this.isTold = this.tell(nowMs) || this.isTold
    else if (!this.isBeyond && this.isTold) this.isTold = !this.raise(alarm, `cleared: ${this.message}`)
  }

  /** uWSGI counts the rate from what was dropped, too, and so falls silent for longer. */
  private tell(nowMs: number): boolean {
    const { rate, alarm } = this.plan.options
    // A look that comes a little early is in time.
    if (nowMs - this.raisedAt < 1000 * rate - 100 || !this.raise(alarm, this.message)) return false
    this.raisedAt = nowMs
    return true
  }

  private get message(): string {
    const { msg, key } = this.plan.options
    return msg || key
  }

  private store(value: bigint): void {
    const { target, isCounted } = this.plan
    if (isCounted) native.changeMetric(target, set, value)
    else native.storeMetric(target, value)
  }
}
