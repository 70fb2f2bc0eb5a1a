// uWSGI's statistics document: the keys, their order and their units are what
// dashboards read. Clients die of a missing key or a number that is no integer,
// so every key is there, also where nothing is measured. What uWSGI lacks comes
// after its keys.
//
// Everything comes from shared memory and from the kernel: no worker is asked,
// so it does not matter whether one can answer.

import type { Listener } from '../listen.ts'
import { lockFigures, lockRows } from '../locks/locks.ts'
import { metricsObject } from '../metrics/document.ts'
import { memoryOf } from '../metrics/memory.ts'
import { appsOf, statusOf } from '../metrics/workers.ts'
import { type CacheFigures, native, type WorkerFigures } from '../native.ts'
import type { Options } from '../options.ts'
import { version } from '../version.ts'
import { CoreWriter } from './cores.ts'
import { MemoryReport } from './memory.ts'
import { Redaction } from './vars.ts'

/** Raised when a key changes its meaning; keys may be added. */
const schema = 1
type View = Pick<Options, 'statsMin' | 'statsNoCores' | 'statsNoMetrics' | 'statsRedact' | 'memoryReport'>

export class Statistics {
  private readonly sockets: readonly Listener[]
  private readonly indentation: string
  private readonly cores: CoreWriter | null
  private readonly withMetrics: boolean
  private readonly memory: MemoryReport | null
  /** The folder may vanish; we stay in it. */
  private readonly cwd = process.cwd()

  constructor(
    sockets: readonly Listener[],
    { statsMin, statsNoCores, statsNoMetrics, statsRedact, memoryReport }: View,
  ) {
    this.sockets = sockets
    this.indentation = statsMin ? '' : '\t'
    this.cores = statsNoCores ? null : new CoreWriter(this.indentation, new Redaction(statsRedact))
    this.withMetrics = !statsNoMetrics
    this.memory = memoryReport ? new MemoryReport() : null
  }

  /** What takes too long to be looked up when somebody asks. */
  look(): void {
    void this.memory?.look(native.workers().map(({ pid }) => pid))
  }

  /** The document, as JSON. */
  text(): string {
    const text = JSON.stringify(this.snapshot(), null, this.indentation)
    // No other `cores` of the document is a text.
    return text.replace(/("cores": ?)"of worker (\d+)"/g, (_, key: string, worker: string) => {
      return key + this.cores!.coresOf(Number(worker))
    })
  }

  private snapshot() {
    const queues = this.sockets.map(({ fd }) => native.socketQueue(fd))
    const longest = Math.max(0, ...queues.map(([waiting]) => waiting))
    const isPaused = native.paused()
    const now = Date.now()
    return {
      version,
      listen_queue: longest,
      listen_queue_errors: queues.reduce((sum, [, , dropped]) => sum + dropped, 0),
      signal_queue: 0,
      load: longest,
      pid: process.pid,
      uid: process.getuid!(),
      gid: process.getgid!(),
      cwd: this.cwd,
      daemons: [],
      locks: lockRows(),
      caches: native.cacheNames().map((_, index) => cacheRow(index)),
      metrics: this.withMetrics ? metricsObject() : undefined,
      sockets: this.sockets.map(({ name }, index) => socketRow(name, queues[index]!)),
      workers: native.workers().map((worker) => this.workerRow(worker, isPaused)),
      generated_at: now,
      uptime: Math.max(0, Math.floor(now / 1000) - native.startedOn()),
      schema,
      lock_figures: lockFigures(),
    }
  }

  private workerRow(worker: WorkerFigures, isPaused: boolean) {
    const { id, pid, accepting, requests, exceptions, beatAge } = worker
    const loopTurns = beatAge >= 0
    return {
      id,
      pid,
      accepting,
      requests,
      delta_requests: worker.deltaRequests,
      exceptions,
      harakiri_count: 0,
      signals: 0,
      signal_queue: 0,
      status: statusOf(worker, isPaused),
      ...memoryOf(pid),
      ...this.memory?.of(pid),
      running_time: worker.runningTime,
      last_spawn: worker.lastSpawn,
      respawn_count: worker.respawnCount,
      tx: worker.tx,
      avg_rt: worker.avgRt,
      apps: appsOf(worker),
      ...(this.cores && { cores: `of worker ${id}` }),
      in_flight: worker.inFlight,
      core_overflows: worker.overflows,
      loop_delay_p50: loopTurns ? worker.delayP50 : 0,
      loop_delay_p99: loopTurns ? worker.delayP99 : 0,
      loop_delay_max: loopTurns ? worker.delayMax : 0,
      beat_age: beatAge,
    }
  }
}

function cacheRow(index: number) {
  const cache = native.cacheFigures(index)
  return {
    name: cache.name,
    hash: cache.hash,
    hashsize: cache.hashsize,
    keysize: cache.keysize,
    max_items: cache.maxItems,
    blocks: cache.blocks,
    blocksize: cache.blocksize,
    items: cache.items,
    hits: cache.hits,
    miss: cache.miss,
    full: cache.full,
    last_modified_at: cache.lastModifiedAt,
    // From here on what uWSGI does not tell.
    bytes: cache.bytes,
    expired: cache.expired,
    policy: cache.policy,
    evictions: cache.evictions,
    repairs: cache.repairs,
    longest_chain: cache.longestChain,
    damaged: cache.damaged,
    ...(cache.bitmap && { blocks_taken: cache.blocksTaken, moves: cache.moves }),
    refused: refusedRow(cache),
  }
}

/** `EXISTS: 3` is `exists: 3` there. */
function refusedRow({ refused }: CacheFigures) {
  return Object.fromEntries(Object.entries(refused).map(([reason, times]) => [reason.toLowerCase(), times]))
}

function socketRow(name: string, [queue, max_queue]: [number, number, number]) {
  return { name, proto: 'http', queue, max_queue, shared: 0, can_offload: 0 }
}
