// What the options make of the metrics: every one in order, with what it needs,
// before anything is created; so a wrong --metric ends the start, with a sentence.

import { UwsgiError } from '../errors.ts'
import type { MetricRow } from '../native.ts'
import { nearest } from '../nearest.ts'
import type { MetricOptions, Options, ThresholdOptions } from '../options.ts'
import { type CollectorName, collectors } from './collectors/index.ts'
import { type Default, defaultMetrics } from './defaults.ts'
import { source, types } from './kinds.ts'
import type { PlannedThreshold } from './thresholds.ts'

/** A metric that the master feeds. */
export interface Collected {
  index: number
  collector: CollectorName
  options: MetricOptions
  children: number[]
}

export interface MetricsPlan {
  rows: MetricRow[]
  collected: Collected[]
  thresholds: PlannedThreshold[]
  /** Those of --metric. */
  custom: string[]
  /** Room: metrics, and those of them that are counted. */
  slots: number
  cells: number
  dir: string | undefined
  restores: boolean
  /** The defaults that no figure feeds, and that --metric has not replaced: index by name. */
  stored: ReadonlyMap<string, number>
}

export function planMetrics(options: Options): MetricsPlan {
  const plan = new Plan()
  if (options.enableMetrics) {
    const { processes: workers, threads, metricsNoCores, httpSocket, cache2 } = options
    const cores = metricsNoCores ? 0 : threads
    const caches = cache2.map(({ name }) => name)
    for (const one of defaultMetrics({ workers, cores, sockets: httpSocket.length, caches })) plan.addDefault(one)
    for (const one of options.metric) plan.addCustom(one)
  }
  const { rows, collected } = plan
  const counted = rows.filter(([, , , from]) => from === source.counted).length
  const room = options.enableMetrics ? options.metricsMax : 0
  return {
    rows,
    collected: [...collected.values()],
    thresholds: options.metricThreshold.map((one) => plan.thresholdOf(one)),
    custom: options.enableMetrics ? options.metric.map(({ name }) => name) : [],
    slots: rows.length + room,
    cells: counted + room,
    dir: options.metricsDir,
    restores: options.metricsDirRestore,
    stored: new Map(
      rows.flatMap(([name, , , from], i) => (from === source.stored && !collected.has(i) ? [[name, i]] : [])),
    ),
  }
}

class Plan {
  readonly rows: MetricRow[] = []
  readonly collected = new Map<number, Collected>()
  private readonly indices = new Map<string, number>()
  private readonly freqs = new Map<number, number>()

  addDefault({ name, oid, type, figure = '', first = 0, second = 0, of }: Default): void {
    if (of !== undefined) this.put([name, oid, types.indexOf(type), source.alias, '', this.indices.get(of)!, 0, 0n])
    else this.put([name, oid, types.indexOf(type), figure ? source.figure : source.stored, figure, first, second, 0n])
  }

  addCustom(options: MetricOptions): void {
    const { name, oid, type, collector, initial_value: initial } = options
    const kind = types.indexOf(type)
    if (type === 'alias') {
      if (this.indices.has(name)) throw new UwsgiError('METRIC_EXISTS', name, type)
      const target = this.targetOf(name, options.alias)
      this.put([name, oid || this.rows[target]![1], kind, source.alias, '', target, 0, 0n])
      if (initial !== 0n) this.rows[target]![7] = initial
      return
    }
    if (collector === 'manual') {
      this.freqs.set(this.put([name, oid, kind, source.counted, '', 0, 0, initial]), options.freq)
      return
    }
    if (collector === 'ptr') throw new UwsgiError('COLLECTOR_PTR', name)
    if (!Object.hasOwn(collectors, collector))
      throw new UwsgiError('UNKNOWN_COLLECTOR', name, collector, ['manual', ...Object.keys(collectors)].join(', '))
    const known = collector as CollectorName
    const children = options.children
      .split(';')
      .filter(Boolean)
      .map((child) => this.before(name, child))
    const missing = collectors[known].needs(options, children)
    if (missing !== null) throw new UwsgiError('COLLECTOR_NEEDS', name, collector, missing)
    const index = this.put([name, oid, kind, source.stored, '', 0, 0, initial])
    this.collected.set(index, { index, collector: known, options, children })
  }

  thresholdOf(options: ThresholdOptions): PlannedThreshold {
    const { key, reset } = options
    const index = this.indices.get(key)
    if (index === undefined) {
      const meant = nearest(key, this.indices.keys())
      throw new UwsgiError('UNKNOWN_THRESHOLD_METRIC', key, meant ? `did you mean ${meant}?` : `add --metric ${key}`)
    }
    const row = this.rows[index]!
    const target = row[3] === source.alias ? row[5] : index
    const isCounted = this.rows[target]![3] === source.counted
    if (reset !== null && !isCounted && !this.collected.has(target)) throw new UwsgiError('THRESHOLD_RESET', key)
    const freq = this.freqs.get(index) ?? 1
    return { options, index, target, isCounted, isCollected: this.collected.has(index), freq }
  }

  /** A name that is there already is replaced where it stands, as uWSGI does it. */
  private put(row: MetricRow): number {
    const index = this.indices.get(row[0]) ?? this.rows.length
    this.rows[index] = row
    this.indices.set(row[0], index)
    this.collected.delete(index)
    return index
  }

  private before(name: string, wanted: string): number {
    const index = this.indices.get(wanted)
    if (index === undefined || wanted === name) throw new UwsgiError('METRIC_NEEDS', name, wanted)
    return index
  }

  /** An alias of an alias is one of its target. */
  private targetOf(name: string, wanted: string): number {
    const index = this.before(name, wanted)
    const row = this.rows[index]!
    return row[3] === source.alias ? row[5] : index
  }
}
