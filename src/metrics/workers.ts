// What uWSGI says of a worker in words, for the statistics and for `uwsgi.workers()`.

import type { WorkerFigures } from '../native.ts'

export type Status = 'cheap' | 'busy' | 'pause' | 'idle'

/** uWSGI shows a dead worker as idle until it is replaced; `cheap` is its word for one without a process. */
export function statusOf({ pid, inFlight }: WorkerFigures, isPaused: boolean): Status {
  if (pid === 0) return 'cheap'
  if (inFlight > 0) return 'busy'
  return isPaused ? 'pause' : 'idle'
}

/** The applications of a worker: one, when it is loaded. */
export function appsOf({ accepting, requests, exceptions, startupTime }: WorkerFigures) {
  if (!accepting) return []
  return [{ id: 0, modifier1: 0, mountpoint: '', startup_time: startupTime, requests, exceptions, chdir: '' }]
}
