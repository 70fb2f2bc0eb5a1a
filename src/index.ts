// The public names, and nothing else.

export { type Bytes, type Cache, type CacheHandleOptions, uwsgi } from './api.ts'
export { type Code, UwsgiError } from './errors.ts'
export { create } from './instance.ts'
export type {
  Histogram,
  HistogramDefinition,
  LabelledMetric,
  LabelsDefinition,
  MetricDefinition,
} from './metrics/define.ts'
export type { Metric } from './metrics/metric.ts'
export type { Refusal } from './native.ts'
export type { GivenOptions } from './options.ts'
