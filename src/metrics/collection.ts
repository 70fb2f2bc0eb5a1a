// The master's part in metrics: it asks the collectors, each at its own pace,
// looks at thresholds, and keeps the files of --metrics-dir.
//
// Paces are counted on the monotonic clock from one start, so they do not drift.
// A collector that takes long is not asked again meanwhile, and delays nobody;
// what goes wrong is told once, and once more when it has changed.

import { log } from '../log.ts'
import { native } from '../native.ts'
import type { Reader } from './collectors/contract.ts'
import { collectors } from './collectors/index.ts'
import { Feed } from './feed.ts'
import { MetricFiles } from './files.ts'
import type { Collected, MetricsPlan } from './plan.ts'
import { type Raise, Threshold } from './thresholds.ts'

/** After so many seconds without an answer a collector is called late. */
const lateAfter = 10

interface Duty extends Collected {
  reader: Reader
  /** When it was asked, while it has not answered. */
  askedAt: number | null
  complaint: string
}

export class Collection {
  private readonly duties: Duty[]
  private readonly feed: Feed
  private readonly files: MetricFiles | null
  private readonly thresholds: Threshold[]
  private readonly plan: MetricsPlan

  constructor(plan: MetricsPlan, sockets: readonly number[], raise: Raise) {
    this.plan = plan
    this.thresholds = plan.thresholds.map((threshold) => new Threshold(threshold, raise))
    this.feed = new Feed(plan.stored, sockets)
    this.duties = plan.collected.map((collected) => {
      const reader = collectors[collected.collector].open(collected.options)
      return { ...collected, reader, askedAt: null, complaint: '' }
    })
    this.files = plan.dir === undefined ? null : new MetricFiles(plan.dir, plan)
  }

  start(): void {
    if (this.plan.slots === 0) return
    this.every(1, () => this.feed.tick())
    for (const freq of new Set(this.duties.map(({ options }) => options.freq))) {
      const duties = this.duties.filter(({ options }) => options.freq === freq)
      this.every(freq, () => {
        for (const duty of duties) this.ask(duty)
      })
    }
    const others = this.thresholds.filter(({ plan }) => !plan.isCollected)
    for (const freq of new Set(others.map(({ plan }) => plan.freq))) {
      const ofPace = others.filter(({ plan }) => plan.freq === freq)
      this.every(freq, () => this.lookAt(ofPace))
    }
    this.every(1, () => this.lookAtTheLate())
    if (this.files) this.every(1, () => void this.files!.write())
  }

  /** An alarm has sent a signal to whoever listens. */
  signalled(isHeard: boolean): void {
    this.feed.signalled(isHeard)
  }

  /** The last values go to the files. */
  stop(): void {
    for (const { reader } of this.duties) reader.close?.()
    this.files?.writeNow()
  }

  /** Now, and then every `seconds` from now. */
  private every(seconds: number, act: () => void): void {
    const begun = performance.now()
    let turn = 0
    const next = () => {
      act()
      // What the event loop was too busy for is left out, not made up for.
      turn = Math.max(turn + 1, Math.ceil((performance.now() - begun) / (seconds * 1000)))
      setTimeout(next, begun + turn * seconds * 1000 - performance.now()).unref()
    }
    next()
  }

  private ask(duty: Duty): void {
    if (duty.askedAt !== null) return
    const { index, children, options } = duty
    const initial = options.initial_value
    duty.askedAt = performance.now()
    try {
      const found = duty.reader.read({
        children: children.map((child) => native.metricBigValue(child)),
        before: native.metricBigValue(index) - initial,
      })
      if (typeof found === 'bigint') this.take(duty, found)
      else
        found.then(
          (value) => this.take(duty, value),
          (error: unknown) => this.complain(duty, error),
        )
    } catch (error) {
      this.complain(duty, error)
    }
  }

  private take(duty: Duty, value: bigint): void {
    duty.askedAt = null
    native.storeMetric(duty.index, BigInt.asIntN(64, value + duty.options.initial_value))
    if (duty.complaint !== '') log(`metric ${duty.options.name} is collected again`)
    duty.complaint = ''
    this.lookAt(this.thresholds.filter(({ plan }) => plan.isCollected && plan.index === duty.index))
  }

  /** One metric's thresholds all see the value from before any of them resets it. */
  private lookAt(thresholds: readonly Threshold[]): void {
    const values = thresholds.map(({ plan }) => native.metricBigValue(plan.index))
    for (const [i, threshold] of thresholds.entries()) threshold.look(values[i]!)
  }

  private complain(duty: Duty, error: unknown): void {
    duty.askedAt = null
    this.tell(duty, error instanceof Error ? error.message : String(error))
  }

  private tell(duty: Duty, complaint: string): void {
    if (complaint !== duty.complaint) log(`metric ${duty.options.name} keeps its value: ${complaint}`)
    duty.complaint = complaint
  }

  private lookAtTheLate(): void {
    const now = performance.now()
    for (const duty of this.duties)
      if (duty.askedAt !== null && now - duty.askedAt > lateAfter * 1000)
        this.tell(duty, `collector ${duty.collector} has not answered for ${lateAfter} seconds`)
  }
}
