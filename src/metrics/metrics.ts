// uWSGI's metric functions, camel-cased, and what we have beyond them. A name
// that nobody has is told apart from 0: null when read, false when written.

import { UwsgiError } from '../errors.ts'
import { nearest } from '../nearest.ts'
import { defineMetric } from './define.ts'
import { Metric } from './metric.ts'
import { metricNamed, metricSpecs, metricsAreOn } from './registry.ts'

const handles = new Map<string, Metric>()

/** Bound once per thread. */
function named(name: string): Metric | undefined {
  return handles.get(name) ?? bind(name)
}

function bind(name: string): Metric | undefined {
  const spec = metricNamed(name)
  if (spec === undefined) return undefined
  const metric = new Metric(spec)
  handles.set(name, metric)
  return metric
}

/** The metric, if it is one that may be written. */
function writable(name: string): Metric | undefined {
  const metric = named(name)
  return metric?.isCounted ? metric : undefined
}

export const metricCalls = {
  /** The value, rounded beyond 2^53; null when there is no such metric (uWSGI: 0). */
  metricGet(name: string): number | null {
    return named(name)?.value ?? null
  },

  /** Makes it n (1); false when there is no such metric, or uwshm feeds it itself. So for all that follow. */
  metricSet(name: string, n: number | bigint = 1): boolean {
    const metric = writable(name)
    metric?.set(n)
    return metric !== undefined
  },

  /** Adds n (1). */
  metricInc(name: string, n: number | bigint = 1): boolean {
    const metric = writable(name)
    metric?.inc(n)
    return metric !== undefined
  },

  /** Subtracts n (1). */
  metricDec(name: string, n: number | bigint = 1): boolean {
    const metric = writable(name)
    metric?.dec(n)
    return metric !== undefined
  },

  /** Multiplies by n (1). */
  metricMul(name: string, n: number | bigint = 1): boolean {
    const metric = writable(name)
    metric?.mul(n)
    return metric !== undefined
  },

  /** Divides by n (1), towards zero; false also when n is 0. */
  metricDiv(name: string, n: number | bigint = 1): boolean {
    return writable(name)?.div(n) ?? false
  },

  /** Makes it n (1) if n is more. */
  metricSetMax(name: string, n: number | bigint = 1): boolean {
    const metric = writable(name)
    metric?.setMax(n)
    return metric !== undefined
  },

  /** Makes it n (1) if n is less. */
  metricSetMin(name: string, n: number | bigint = 1): boolean {
    const metric = writable(name)
    metric?.setMin(n)
    return metric !== undefined
  },

  /** The names of all metrics, in the order of the statistics. */
  get metrics(): string[] {
    return metricSpecs().map(({ name }) => name)
  },

  /**
   * The bound handle of a metric: the fast way to count, and the one with exact values.
   * @throws UwsgiError UNKNOWN_METRIC, METRICS_OFF, NOT_ATTACHED.
   */
  metric(name: string): Metric {
    const metric = named(name)
    if (metric) return metric
    if (!metricsAreOn()) throw new UwsgiError('METRICS_OFF', name)
    const meant = nearest(name, this.metrics)
    throw new UwsgiError('UNKNOWN_METRIC', name, meant ? `did you mean ${meant}?` : 'uwsgi.metrics lists them')
  },

  /**
   * Defines a metric, or finds the one that another process has defined:
   * `defineMetric('orders')`, `defineMetric('orders', { labels: ['state'] })`, `defineMetric('took', { buckets: [10, 100] })`.
   * @throws UwsgiError METRIC_EXISTS when it is of another kind, METRICS_FULL, METRICS_OFF, NOT_ATTACHED.
   */
  defineMetric,
}
