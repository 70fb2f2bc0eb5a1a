// The part of the `uwsgi` object that is about the group itself: who is in it, what
// it has done, and a worker's first and last words. Counters are read from shared
// memory: no worker is asked, and a dead one has lost none.

import { fstatSync } from 'node:fs'
import { listenToSignal, type SignalListener, sendAlarm } from './alarms/mail.ts'
import { UwsgiError } from './errors.ts'
import { join, writtenOptions } from './instance.ts'
import { log, oneLine } from './log.ts'
import { memoryOf } from './metrics/memory.ts'
import { appsOf, type Status, statusOf } from './metrics/workers.ts'
import { native, type WorkerFigures } from './native.ts'
import type { WrittenOptions } from './options.ts'
import { type Hook, onExit, onPostFork, seat } from './seat.ts'
import { version } from './version.ts'

/** A worker as `uwsgi.workers()` tells it; names and units are uWSGI's. */
export interface Worker {
  id: number
  /** 0 while there is no process. */
  pid: number
  /** Served since the instance began. */
  requests: number
  /** Served by the present process. */
  delta_requests: number
  /** uWSGI's signals: none here yet; those of alarms are counted in core.routed_signals. */
  signals: number
  exceptions: number
  status: Status
  /** Bytes. */
  rss: number
  vsz: number
  /** Microseconds. */
  running_time: number
  /** Epoch seconds. */
  last_spawn: number
  /** How often it was started again. (The statistics count its first start, too.) */
  respawn_count: number
  /** Bytes sent to clients. */
  tx: number
  /** Microseconds. */
  avg_rt: number
  apps: ReturnType<typeof appsOf>
}

export const group = {
  /**
   * Every worker of the group, by id. uWSGI's `workers()`, without its two memory addresses.
   * @throws UwsgiError NOT_ATTACHED.
   */
  workers(): Worker[] {
    join()
    const isPaused = native.paused()
    return native.workers().map((figures) => workerOf(figures, isPaused))
  },

  /**
   * Requests that all workers have served since the instance began.
   * @throws UwsgiError NOT_ATTACHED.
   */
  totalRequests(): number {
    join()
    let sum = 0
    for (let id = native.workerCount(); id > 0; id--) sum += native.requestsServed(id)
    return sum
  },

  /**
   * The master's pid; in a program that called `create`, its own.
   * @throws UwsgiError NOT_ATTACHED.
   */
  masterpid(): number {
    join()
    return native.masterPid()
  },

  /**
   * Which worker this is, from 1; 0 in a process that is none. A new process in a dead worker's place has its id.
   * @throws UwsgiError NOT_ATTACHED.
   */
  workerId(): number {
    join()
    // A second copy of this package came to the memory by the environment, which does not say.
    ownId ??= native.workerId() || (native.workers().find(({ pid }) => pid === process.pid)?.id ?? 0)
    return ownId
  },

  /**
   * The number, from 0, of the request that this worker began last; over all its processes. Within a handler and before
   * its first `await` that is the handler's own request; later, others may have begun (in uWSGI a worker has one at a time).
   * 0 in a process that is no worker.
   * @throws UwsgiError NOT_ATTACHED.
   */
  requestId(): number {
    const id = group.workerId()
    return id === 0 ? 0 : Math.max(0, native.requestsBegun(id) - 1)
  },

  /**
   * Connections that wait in the kernel at a socket of the master's.
   * @param index of the socket, in the order of --http-socket.
   * @throws UwsgiError UNKNOWN_SOCKET (also in a process that is no worker), NOT_ATTACHED.
   */
  listenQueue(index = 0): number {
    join()
    const fd = seat.sockets[index]
    if (fd === undefined) throw new UwsgiError('UNKNOWN_SOCKET', index, seat.sockets.length)
    return native.socketQueue(fd)[0]
  },

  /** This process's memory in bytes: what is resident, and its address space. */
  mem(): [rss: number, vsz: number] {
    const { rss, vsz } = memoryOf(process.pid)
    return [rss, vsz]
  },

  /** Bytes of the log, where it goes to a file; else 0. */
  logsize(): number {
    const file = fstatSync(2)
    return file.isFile() ? file.size : 0
  },

  /**
   * Ends the whole instance gracefully, as SIGTERM to the master does; the call returns before that is done.
   * False: the master has gone already.
   * @throws UwsgiError NOT_ATTACHED.
   */
  stop(): boolean {
    join()
    const master = native.masterPid()
    // Its pid may be somebody else's by now; its place in the process table is its own.
    if (!native.processes().some(({ pid, alive }) => pid === master && alive)) return false
    return process.kill(master, 'SIGTERM')
  },

  /**
   * Writes one line into the log. Line ends and other control characters within are written as escapes, so that no
   * text can pass for other lines of the log; a line end at the end is left out. Always true.
   * @throws TypeError when given no text.
   */
  log(text: string): true {
    if (typeof text !== 'string') throw new TypeError('uwsgi.log takes a string')
    log(oneLine(text))
    return true
  },

  /**
   * Raises an alarm of --alarm, in the master; the call waits for nobody. A long message is cut, see --alarm-msg-size.
   * False: there is no such alarm, or the master does not take it: it is stopped, or there is too much.
   * @throws UwsgiError NOT_ATTACHED.
   */
  alarm(name: string, message: string): boolean {
    if (typeof name !== 'string' || typeof message !== 'string')
      throw new TypeError('uwsgi.alarm takes the name of an alarm and a message')
    alarmNames ??= namesOfAlarms()
    return alarmNames.has(name) && sendAlarm(name, message)
  },

  /**
   * Has `listener` called, in this thread, whenever an alarm `signal:NUMBER` is raised, in every process that listens.
   * @param signal a number from 0 to 255: uWSGI's signals, not the kernel's.
   * @throws UwsgiError SIGNAL_TAKEN when another thread of this process listens to it; NOT_ATTACHED.
   */
  onSignal(signal: number, listener: SignalListener): void {
    if (!Number.isInteger(signal) || signal < 0 || signal > 255 || typeof listener !== 'function')
      throw new TypeError('uwsgi.onSignal takes a number from 0 to 255 and a function')
    join()
    listenToSignal(signal, listener)
  },

  /**
   * Has `hook` called in each worker when its application's module is loaded: in the order of registration, and awaited
   * before an exported application is served. If it fails, the application has failed. uWSGI's `post_fork_hook`.
   * In a process that is no worker it is never called.
   */
  onPostFork(hook: Hook): void {
    if (typeof hook !== 'function') throw new TypeError('uwsgi.onPostFork takes a function')
    onPostFork(hook)
  },

  /**
   * Has `hook` called once when this process ends: in a worker that leaves gracefully after its last request, and
   * awaited, within the master's mercy; at any other end that Node notices, only what it does at once gets done.
   * If it fails, that is told in the log, and the next one is called. uWSGI's `atexit`.
   */
  onExit(hook: Hook): void {
    if (typeof hook !== 'function') throw new TypeError('uwsgi.onExit takes a function')
    onExit(hook)
  },

  /** When the instance was started, in epoch seconds. @throws UwsgiError NOT_ATTACHED. */
  get startedOn(): number {
    join()
    return native.startedOn()
  },

  /** How many workers the group has. @throws UwsgiError NOT_ATTACHED. */
  get numproc(): number {
    join()
    return native.workerCount()
  },

  /** Of uwshm. */
  get version(): string {
    return version
  },

  /**
   * The options as the operator wrote them, by the (long) names that were used: a text, or true for a bare flag; a
   * list where the option may be repeated. Frozen. @throws UwsgiError NOT_ATTACHED.
   */
  get opt(): Readonly<WrittenOptions> {
    if (opt === undefined) {
      opt = writtenOptions()
      for (const value of Object.values(opt)) Object.freeze(value)
      Object.freeze(opt)
    }
    return opt
  },
}

let ownId: number | undefined
let opt: Readonly<WrittenOptions> | undefined
let alarmNames: ReadonlySet<string> | undefined

/** As --alarm has them: `NAME TYPE:ARGUMENT`. */
function namesOfAlarms(): Set<string> {
  const { alarm = [] } = writtenOptions()
  return new Set([alarm].flat().map((text) => String(text).split(' ', 1)[0]!))
}

function workerOf(figures: WorkerFigures, isPaused: boolean): Worker {
  const { id, pid, requests, exceptions, tx } = figures
  return {
    id,
    pid,
    requests,
    delta_requests: figures.deltaRequests,
    signals: 0,
    exceptions,
    status: statusOf(figures, isPaused),
    ...memoryOf(pid),
    running_time: figures.runningTime,
    last_spawn: figures.lastSpawn,
    respawn_count: Math.max(0, figures.respawnCount - 1),
    tx,
    avg_rt: figures.avgRt,
    apps: appsOf(figures),
  }
}
