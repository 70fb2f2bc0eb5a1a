// The `metrics` object of the statistics document, as uWSGI has it: an object by
// name, in the order of definition.

import { native } from '../native.ts'
import { source, types } from './kinds.ts'
import { metricSpecs, metricsAreOn } from './registry.ts'

export interface MetricFigures {
  /** 0 counter, 1 gauge, 2 absolute, 3 alias. */
  type: number
  oid: string
  value: number
}

/** Undefined while metrics are off: the document has no such key then. */
export function metricsObject(): Record<string, MetricFigures> | undefined {
  if (!metricsAreOn()) return undefined
  const specs = metricSpecs()
  const values = native.metricValues()
  const rows: Record<string, MetricFigures> = {}
  for (const { index, name, oid, type, source: from, target } of specs) {
    // An alias shows its target's OID, whatever it answers to itself.
    const shown = from === source.alias ? specs[target]!.oid : oid
    rows[name] = { type: types.indexOf(type), oid: shown, value: asNumber(values[index]!) }
  }
  return rows
}

/** JSON has doubles: beyond 2^53 they are rounded, and at the ends of 64 bits they must not leave them. */
function asNumber(value: bigint): number {
  const largest = 2 ** 63 - 1024
  return Math.max(-(2 ** 63), Math.min(largest, Number(value)))
}
