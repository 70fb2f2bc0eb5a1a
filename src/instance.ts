// How a process comes to its shared memory: it makes it (`createInstance`), or
// it finds it (`join`).
//
// Workers of our own master inherit the descriptors (worker.ts). Whoever else
// descends from a master finds them through the environment: a node:cluster
// worker of a process that called `create`, a child that an application
// starts, a second copy of this package inside a worker.
//
//   UWSHM_ATTACH=<instance id>@/proc/<pid>/fd:<root>,<locks>,<cache>,…
//   UWSHM_OPT=<the options as they were written, as JSON>
//
// A reused pid or descriptor is noticed: every segment carries the instance id.

import { statSync } from 'node:fs'
import { totalmem } from 'node:os'
import { Alarms } from './alarms/alarms.ts'
import { filling } from './cache/fill.ts'
import { openStores, syncStores, tellOfStores } from './cache/store.ts'
import { UwsgiError } from './errors.ts'
import { watchLocks } from './locks/watcher.ts'
import { log } from './log.ts'
import { Collection } from './metrics/collection.ts'
import { type MetricsPlan, planMetrics } from './metrics/plan.ts'
import { native } from './native.ts'
import { completeOptions, type GivenOptions, type Options, type WrittenOptions } from './options.ts'

const VARIABLE = 'UWSHM_ATTACH'
const OPTIONS = 'UWSHM_OPT'

/** Makes the segments that `options` describe; this process is their master. */
export function createInstance(options: Options): MetricsPlan {
  const { maxProcesses, processes, threads, lockEngine, ftok, persistentIpcsem, locks, locksMax, written } = options
  const fill = filling(options)
  const left = native.reapLocks()
  if (left > 0) log(`removed ${left} semaphore set${left === 1 ? '' : 's'} that killed instances had left`)
  const metrics = planMetrics(options)
  const caches = openStores(options)
  native.create(
    maxProcesses,
    processes,
    threads,
    lockEngine,
    caches,
    memoryLimit(),
    ftok === undefined ? 0 : keyOf(ftok),
    persistentIpcsem,
    locks + 1,
    locksMax,
    metrics.slots,
    metrics.cells,
  )
  tellOfStores(options, caches)
  syncStores(options)
  native.defineMetrics(metrics.rows, -1, 0)
  // Takes its thread slot while there is one.
  native.startSweeper(1000 * options.cacheExpireFreq)
  fill()
  const { id, fds } = native.instance()
  process.env[VARIABLE] = `${id}@/proc/${process.pid}/fd:${fds.join(',')}`
  process.env[OPTIONS] = JSON.stringify(written)
  return metrics
}

/** What the operator wrote when the instance was started. */
export function writtenOptions(): WrittenOptions {
  join()
  return JSON.parse(process.env[OPTIONS] ?? '{}') as WrittenOptions
}

/**
 * Makes the calling process a master, for `node:cluster` programs, scripts and tests.
 * Child processes started from now on attach at their first call.
 *
 * @param options as on the command line: `create({ cache2: [{ name: 'pages', items: 1000 }] })`,
 *   or `create({ cache2: ['name=pages,items=1000'] })`.
 * @throws UwsgiError ALREADY_ATTACHED, SEGMENT_TOO_LARGE, NO_MEMORY, or an option's own error.
 */
export function create(options: GivenOptions = {}): void {
  const complete = completeOptions(options)
  const alarms = new Alarms(complete)
  const metrics = new Collection(createInstance(complete), [], (alarm, message) => alarms.raise(alarm, message))
  alarms.start((isHeard) => metrics.signalled(isHeard))
  watchLocks(complete.lockAlarm)
  // The master's duties, as far as they do not concern workers: what the dead
  // left half done is finished.
  setInterval(keepHouse, 1000).unref()
  metrics.start()
  process.once('exit', () => {
    metrics.stop()
    alarms.close()
  })
}

/** Frees what dead processes held; cheap when there is nothing to do. */
export function keepHouse(): void {
  native.reclaim()
}

/** Attaches this process, if it is not attached yet, to the instance its environment names. */
export function join(): void {
  if (native.attached()) return
  const [, id, folder, fds] = /^(\w+)@(.+):([\d,]+)$/.exec(process.env[VARIABLE] ?? '') ?? []
  if (id === undefined || fds === undefined) throw new UwsgiError('NOT_ATTACHED')
  const paths = fds.split(',').map((fd) => `${folder}/${fd}`)
  try {
    native.attach(id, paths, 0)
  } catch (error) {
    // Another thread of this process was faster.
    if (!(error instanceof UwsgiError && error.code === 'ALREADY_ATTACHED')) throw error
  }
}

/** As ftok(3) makes it for project 1, which is what uWSGI begins with. */
function keyOf(file: string): number {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined) throw new UwsgiError('FTOK', file, 'ENOENT')
  return (1 << 24) | ((found.dev & 0xff) << 16) | (found.ino & 0xffff)
}

/** Bytes that the caches' items may take: what the container or the machine has. */
function memoryLimit(): number {
  const limit = (process as { constrainedMemory?(): number }).constrainedMemory?.() ?? 0
  return limit > 0 && limit < totalmem() ? limit : totalmem()
}
