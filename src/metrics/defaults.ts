// The metrics that are there without asking: uWSGI's, in its order, with its
// names, types and OIDs; after them what only we have.
//
// Most show a figure that stands in shared memory anyway, looked up when
// somebody reads it (native/cpp/figures.cpp). The rest is stored: `feed` says by
// whom. Of signals there are those of alarms; what Node has nothing for, static
// files, stays 0.
//
// Worker 0 stands for all of them, and is really fed. uWSGI gave 3.N.13 to two
// metrics: it stays with failed_requests, which has always answered there, and
// running_time is 3.N.15.

import type { MetricKind } from './kinds.ts'

export interface Default {
  name: string
  oid: string
  type: MetricKind
  /** By its name in figures.cpp, of (`first`, `second`); without one it is stored. */
  figure?: string
  first?: number
  second?: number
  /** An alias of that metric. */
  of?: string
}

export interface Group {
  workers: number
  /** Of each worker; 0: no metrics of single cores. */
  cores: number
  sockets: number
  caches: readonly string[]
}

export function defaultMetrics({ workers, cores, sockets, caches }: Group): Default[] {
  const ids = Array.from({ length: workers + 1 }, (_, id) => id)
  return [
    { name: 'core.routed_signals', oid: '5.1', type: 'counter' },
    { name: 'core.unrouted_signals', oid: '5.2', type: 'counter' },
    { name: 'core.busy_workers', oid: '5.3', type: 'gauge', figure: 'busy' },
    { name: 'core.idle_workers', oid: '5.4', type: 'gauge', figure: 'idle' },
    { name: 'core.overloaded', oid: '5.5', type: 'counter' },
    ...ids.flatMap((id) => [...ofWorker(id), ...(id === 0 ? [] : ofCores(id, cores))]),
    { name: 'core.total_tx', oid: '5.100', type: 'counter', figure: 'tx' },
    { name: 'core.total_rss', oid: '5.101', type: 'gauge' },
    { name: 'core.total_vsz', oid: '5.102', type: 'gauge' },
    { name: 'core.avg_response_time', oid: '5.103', type: 'gauge', figure: 'avg_rt' },
    { name: 'core.total_running_time', oid: '5.104', type: 'counter', figure: 'running_time' },
    ...Array.from({ length: sockets }, (_, s): Default => {
      return { name: `socket.${s}.listen_queue`, oid: `7.${s}.1`, type: 'gauge' }
    }),
    { name: 'rss_size', oid: '', type: 'alias', of: 'core.total_rss' },
    { name: 'vsz_size', oid: '', type: 'alias', of: 'core.total_vsz' },
    ...ids.flatMap(ofLoop),
    ...caches.flatMap(ofCache),
    { name: 'locks.held', oid: '12.1', type: 'gauge', figure: 'locks_held' },
  ]
}

function ofWorker(id: number): Default[] {
  const rows: [name: string, number: number, type: MetricKind, figure?: string][] = [
    ['requests', 1, 'counter', 'requests'],
    ['delta_requests', 2, 'absolute', 'delta_requests'],
    ['failed_requests', 13, 'counter', 'exceptions'],
    ['respawns', 14, 'counter', 'respawns'],
    ['avg_response_time', 8, 'gauge', 'avg_rt'],
    ['total_tx', 9, 'counter', 'tx'],
    ['rss_size', 11, 'gauge'],
    ['vsz_size', 12, 'gauge'],
    ['running_time', 15, 'counter', 'running_time'],
  ]
  return rows.map(([name, number, type, figure]) => {
    return { name: `worker.${id}.${name}`, oid: `3.${id}.${number}`, type, ...(figure && { figure, first: id }) }
  })
}

function ofCores(id: number, cores: number): Default[] {
  const rows: [name: string, number: number, figure?: string][] = [
    ['requests', 1, 'core_requests'],
    ['write_errors', 3, 'core_write_errors'],
    ['routed_requests', 4],
    ['static_requests', 5],
    ['offloaded_requests', 6],
    ['exceptions', 7, 'core_exceptions'],
    ['read_errors', 8, 'core_read_errors'],
  ]
  return Array.from({ length: cores }, (_, core) => core).flatMap((core) =>
    rows.map(([name, number, figure]): Default => {
      const where = { name: `worker.${id}.core.${core}.${name}`, oid: `3.${id}.2.${core}.${number}` }
      return { ...where, type: 'counter', ...(figure && { figure, first: id, second: core }) }
    }),
  )
}

/** Ours: the event loop, and the heap behind it. Of all workers it is the latest timer and the sum of heaps. */
function ofLoop(id: number): Default[] {
  const rows: [name: string, number: number, figure?: string][] = [
    ['in_flight', 101, 'in_flight'],
    ['core_overflows', 102, 'overflows'],
    ['loop_delay_p50', 103, 'delay_p50'],
    ['loop_delay_p99', 104, 'delay_p99'],
    ['loop_delay_max', 105, 'delay_max'],
    ['heap_used', 106],
  ]
  return rows.map(([name, number, figure]) => {
    const type = name === 'core_overflows' ? 'counter' : 'gauge'
    return { name: `worker.${id}.${name}`, oid: `3.${id}.${number}`, type, ...(figure && { figure, first: id }) }
  })
}

function ofCache(name: string, index: number): Default[] {
  // A cache's name may have any characters.
  const shown = /^[\w.-]{1,127}$/.test(name) ? name : String(index)
  const rows: [name: string, type: MetricKind][] = [
    ['items', 'gauge'],
    ['hits', 'counter'],
    ['misses', 'counter'],
    ['full', 'counter'],
    ['repairs', 'counter'],
  ]
  return rows.map(([figure, type], number) => {
    const oid = `11.${index}.${number + 1}`
    return { name: `cache.${shown}.${figure}`, oid, type, figure: `cache_${figure}`, first: index }
  })
}
