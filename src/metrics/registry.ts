// Which metrics there are, as this thread knows them: an index by name and by
// OID over the list in shared memory. The list only grows and what it says of a
// metric never changes, so an index is brought up to date by reading on.

import { join } from '../instance.ts'
import { native } from '../native.ts'
import { type MetricKind, source, types } from './kinds.ts'

export interface MetricSpec {
  index: number
  name: string
  /** Relative to 1.3.6.1.4.1.35156.17; may be empty. */
  oid: string
  type: MetricKind
  source: number
  /** An alias: the index of its target. */
  target: number
  /** Where its cell is in every thread's row; -1: it is not counted. */
  cell: number
}

const all: MetricSpec[] = []
const byName = new Map<string, MetricSpec>()
const byOid = new Map<string, MetricSpec>()

/** Every metric, in the order of definition: that of all documents. */
export function metricSpecs(): readonly MetricSpec[] {
  hasGrown()
  return all
}

/** Reads on; false when there is nothing new. */
function hasGrown(): boolean {
  join()
  if (native.metricCount() === all.length) return false
  for (const [name, oid, type, from, target, cell] of native.metricSpecs(all.length)) {
    const spec = { index: all.length, name, oid, type: types[type]!, source: from, target, cell }
    all.push(spec)
    byName.set(name, spec)
    // The first one answers; an alias answers with its target.
    if (oid !== '' && !byOid.has(oid)) byOid.set(oid, from === source.alias ? all[target]! : spec)
  }
  return true
}

export function metricNamed(name: string): MetricSpec | undefined {
  return byName.get(name) ?? (hasGrown() ? byName.get(name) : undefined)
}

export function metricAt(oid: string): MetricSpec | undefined {
  return byOid.get(oid) ?? (hasGrown() ? byOid.get(oid) : undefined)
}

/** Are metrics kept at all? */
export function metricsAreOn(): boolean {
  join()
  return native.metricCapacity() > 0
}
