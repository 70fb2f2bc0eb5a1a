// The public names, and nothing else.

export {
  type AsyncLockOptions,
  type Bytes,
  type Cache,
  type CacheHandleOptions,
  type ComputeOptions,
  type Hold,
  type LockOptions,
  type NamedLockOptions,
  type RwLock,
  type UserLock,
  uwsgi,
} from './api.ts'
export { type Code, UwsgiError } from './errors.ts'
export type { Worker } from './group.ts'
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
export type { GivenOptions, WrittenOptions } from './options.ts'
