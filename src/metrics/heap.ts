// What a worker's JavaScript heap takes, told by the worker itself: nobody else
// can see it.

import { native } from '../native.ts'
import { source } from './kinds.ts'
import { metricNamed, metricsAreOn } from './registry.ts'

const everyMs = 1000

export function reportHeap(worker: number): void {
  const metric = metricsAreOn() ? metricNamed(`worker.${worker}.heap_used`) : undefined
  if (metric?.source !== source.stored) return
  const report = () => native.storeMetric(metric.index, BigInt(process.memoryUsage().heapUsed))
  report()
  setInterval(report, everyMs).unref()
}
