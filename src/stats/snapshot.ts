// uWSGI's statistics document: the keys, their order and their units are what
// dashboards read. Clients die of a missing key or a number that is no integer,
// so every key is there; what is not measured yet is 0.
//
// Everything comes from shared memory: no worker is asked.

import type { Listener } from '../listen.ts'
import { lockRows } from '../locks/locks.ts'
import { native, type WorkerFigures } from '../native.ts'
import { version } from '../version.ts'

export function snapshot(sockets: readonly Listener[]) {
  return {
    version,
    listen_queue: 0,
    listen_queue_errors: 0,
    signal_queue: 0,
    load: 0,
    pid: process.pid,
    uid: process.getuid!(),
    gid: process.getgid!(),
    cwd: process.cwd(),
    locks: lockRows(),
    caches: native.cacheNames().map((_, index) => cacheRow(index)),
    sockets: sockets.map(socketRow),
    workers: native.workers().map(workerRow),
  }
}

function cacheRow(index: number) {
  const { name, hash, hashsize, keysize, maxItems, blocks, blocksize, items, hits, miss, full } =
    native.cacheFigures(index)
  return {
    name,
    hash,
    hashsize,
    keysize,
    max_items: maxItems,
    blocks,
    blocksize,
    items,
    hits,
    miss,
    full,
    last_modified_at: 0,
  }
}

function socketRow({ name, address, backlog }: Listener) {
  return {
    name,
    proto: 'http',
    queue: 0,
    // uWSGI knows the queues of TCP sockets only.
    max_queue: address.kind === 'tcp' ? backlog : 0,
    shared: 0,
    can_offload: 0,
  }
}

function workerRow(worker: WorkerFigures) {
  return {
    id: worker.id,
    pid: worker.pid,
    accepting: worker.accepting,
    requests: worker.requests,
    delta_requests: worker.deltaRequests,
    exceptions: 0,
    harakiri_count: 0,
    signals: 0,
    signal_queue: 0,
    status: statusOf(worker),
    rss: 0,
    vsz: 0,
    running_time: 0,
    last_spawn: worker.lastSpawn,
    respawn_count: worker.respawnCount,
    tx: 0,
    avg_rt: 0,
    apps: worker.accepting ? [appRow(worker)] : [],
    cores: [coreRow(worker)],
  }
}

/** uWSGI shows a dead worker as idle until it is replaced; `cheap` is its word for one without a process. */
function statusOf({ pid, inFlight }: WorkerFigures): 'cheap' | 'busy' | 'idle' {
  if (pid === 0) return 'cheap'
  return inFlight > 0 ? 'busy' : 'idle'
}

function appRow({ requests }: WorkerFigures) {
  return { id: 0, modifier1: 0, mountpoint: '', startup_time: 0, requests, exceptions: 0, chdir: '' }
}

/** A worker is one thread that serves many requests at a time: one core. */
function coreRow({ requests, inFlight }: WorkerFigures) {
  return {
    id: 0,
    requests,
    static_requests: 0,
    routed_requests: 0,
    offloaded_requests: 0,
    write_errors: 0,
    read_errors: 0,
    in_request: inFlight > 0 ? 1 : 0,
    vars: [],
    req_info: {},
  }
}
