// Metrics that the application defines while it runs: plain ones, ones with
// labels, histograms. Who comes second to a name gets the metric that is there;
// so every worker defines what it needs, and all count together.
//
//   labels      a metric for each combination of values, `orders{state="paid"}`.
//               There are at most so many; what comes after them is counted on
//               `orders` itself, so that no stranger's header fills the memory.
//   histograms  as Prometheus has them: `took_bucket{le="10"}` counts what took
//               at most 10, `took_sum` and `took_count` are what they say.

import { UwsgiError } from '../errors.ts'
import { type MetricRow, native } from '../native.ts'
import { type MetricKind, source, types } from './kinds.ts'
import { Metric } from './metric.ts'
import { type MetricSpec, metricNamed, metricSpecs, metricsAreOn } from './registry.ts'

export interface MetricDefinition {
  /** counter, the default; gauge: may go down; absolute: as it is now. */
  type?: Exclude<MetricKind, 'alias'>
  /** Below 1.3.6.1.4.1.35156.17, digits and dots. */
  oid?: string
  /** Where it starts, if this call is the one that makes it. */
  initialValue?: number | bigint
}

export interface LabelsDefinition extends MetricDefinition {
  /** Names of the labels. */
  labels: readonly string[]
  /** Combinations of values; 100. */
  most?: number
}

export interface HistogramDefinition {
  /** Upper bounds: whole numbers, each more than the one before. */
  buckets: readonly number[]
}

/** Names are uWSGI's; OIDs too. */
const names = /^[\w.-]{1,191}$/
const oids = /^[\d.]{0,63}$/
const longestName = 191

export function defineMetric(name: string, definition: HistogramDefinition): Histogram
export function defineMetric(name: string, definition: LabelsDefinition): LabelledMetric
export function defineMetric(name: string, definition?: MetricDefinition): Metric
export function defineMetric(
  name: string,
  definition: MetricDefinition | LabelsDefinition | HistogramDefinition = {},
): Metric | LabelledMetric | Histogram {
  if (typeof name !== 'string' || !names.test(name))
    throw new TypeError(`a metric's name has letters, digits, dots, dashes and _, at most ${longestName}: ${name}`)
  if (!metricsAreOn()) throw new UwsgiError('METRICS_OFF', name)
  if ('buckets' in definition) return new Histogram(name, definition.buckets)
  const metric = counted(name, definition)
  return 'labels' in definition ? new LabelledMetric(metric, definition) : new Metric(metric)
}

function counted(name: string, { type = 'counter', oid = '', initialValue = 0 }: MetricDefinition): MetricSpec {
  const number = types.indexOf(type)
  if (number < 0 || type === ('alias' as string)) throw new TypeError(`no type of metrics is named ${type}`)
  if (!oids.test(oid)) throw new TypeError(`an OID has digits and dots: ${oid}`)
  const initial = BigInt(initialValue)
  if (BigInt.asIntN(64, initial) !== initial) throw new TypeError(`${initial} has more than 64 bits`)
  const spec = append([[name, oid, number, source.counted, '', 0, 0, initial]])
  if (spec.source !== source.counted || spec.type !== type) throw new UwsgiError('METRIC_EXISTS', name, type)
  return spec
}

/** The first of `rows`, new or not; null: its family has enough. */
function append(rows: MetricRow[]): MetricSpec
function append(rows: MetricRow[], family: number, most: number): MetricSpec | null
function append(rows: MetricRow[], family = -1, most = 0): MetricSpec | null {
  const name = rows[0]![0]
  const known = metricNamed(name)
  if (known) return known
  const at = native.defineMetrics(rows, family, most)
  if (at === -1) return null
  if (at === -2) throw new UwsgiError('METRICS_FULL', name)
  const spec = metricSpecs()[at < 0 ? -3 - at : at]!
  if (spec.name !== name) throw new UwsgiError('METRIC_EXISTS', spec.name, `part of ${name}`)
  return spec
}

/** A level of labels: what the next value leads to. */
type Branch = Map<string, Branch | Metric>

export class LabelledMetric {
  readonly name: string
  /** Counts whatever has no metric of its own. */
  readonly rest: Metric
  readonly labelNames: readonly string[]
  readonly #index: number
  readonly #type: number
  readonly #most: number
  readonly #known: Branch = new Map()
  #isFull = false

  /** Made by `uwsgi.defineMetric(name, { labels })`. */
  constructor(family: MetricSpec, { labels, most = 100 }: LabelsDefinition) {
    if (labels.length === 0 || labels.some((label) => !/^[a-zA-Z_]\w*$/.test(label)))
      throw new TypeError(`labels of ${family.name}: each has letters, digits and _`)
    this.name = family.name
    this.rest = new Metric(family)
    this.labelNames = labels
    this.#index = family.index
    this.#type = types.indexOf(family.type)
    this.#most = most
  }

  /**
   * The metric of these values, in the order of the labels' names: keep it, and counting costs what it costs without
   * labels. Beyond the bound, or where they are too long for a name, it is `rest`.
   */
  labels(...values: string[]): Metric {
    let branch: Branch = this.#known
    const last = this.labelNames.length - 1
    for (let i = 0; i < last; i++) {
      const next = branch.get(values[i]!)
      if (next === undefined) return this.#make(values)
      branch = next as Branch
    }
    const metric = branch.get(values[last]!) as Metric | undefined
    return metric !== undefined && values.length === last + 1 ? metric : this.#make(values)
  }

  #make(values: readonly string[]): Metric {
    if (values.length !== this.labelNames.length || values.some((value) => typeof value !== 'string'))
      throw new TypeError(`${this.name} has the labels ${this.labelNames.join(', ')}: give a text for each`)
    const pairs = this.labelNames.map((label, i) => `${label}="${escaped(values[i]!)}"`)
    const name = `${this.name}{${pairs.join(',')}}`
    if (Buffer.byteLength(name) > longestName) return this.rest
    // Once there are enough, all that there will ever be are known: no look-up for what a stranger makes up.
    const spec = this.#isFull ? metricNamed(name) : this.#child(name)
    if (!spec) return this.rest
    const metric = new Metric(spec)
    let branch = this.#known
    for (const value of values.slice(0, -1)) {
      const next = (branch.get(value) ?? new Map()) as Branch
      branch.set(value, next)
      branch = next
    }
    branch.set(values.at(-1)!, metric)
    return metric
  }

  #child(name: string): MetricSpec | null {
    const row: MetricRow = [name, '', this.#type, source.counted, '', 0, 0, 0n]
    const spec = append([row], this.#index, this.#most)
    this.#isFull = spec === null
    return spec
  }
}

/** As Prometheus writes a label's value. */
function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`))
}

export class Histogram {
  readonly name: string
  readonly buckets: readonly number[]
  readonly #metrics: Metric[]
  readonly #sum: Metric

  /** Made by `uwsgi.defineMetric(name, { buckets })`. */
  constructor(name: string, buckets: readonly number[]) {
    if (buckets.length === 0 || buckets.some((bound, i) => !Number.isSafeInteger(bound) || bound <= buckets[i - 1]!))
      throw new TypeError(`buckets of ${name}: whole numbers, each more than the one before`)
    const bounds = [...buckets.map(String), '+Inf']
    const rows = bounds.map(
      (bound, i): MetricRow => [`${name}_bucket{le="${bound}"}`, '', 0, source.bucket, '', i, 0, 0n],
    )
    // Nobody counts on it: it shows what all the buckets before it hold.
    rows.push([`${name}_count`, '', 0, source.bucket, '', bounds.length, 0, 0n])
    rows.push([`${name}_sum`, '', 0, source.counted, '', 0, 0, 0n])
    const { index } = append(rows)
    const specs = metricSpecs().slice(index, index + rows.length)
    if (specs.some((spec, i) => spec.name !== rows[i]![0]))
      throw new UwsgiError('METRIC_EXISTS', name, 'such histogram')
    this.name = name
    this.buckets = buckets
    this.#sum = new Metric(specs.at(-1)!)
    this.#metrics = specs.slice(0, -2).map((spec) => new Metric(spec))
  }

  /** Counts a whole number in its bucket, and adds it to the sum. */
  observe(n: number): void {
    let i = 0
    while (i < this.buckets.length && n > this.buckets[i]!) i++
    this.#sum.inc(n) // refuses what is no whole number before anything is counted
    this.#metrics[i]!.inc()
  }

  /** What was observed, in all. */
  get count(): number {
    return this.#metrics.at(-1)!.value
  }

  get sum(): number {
    return this.#sum.value
  }
}
