// What worker.ts and the application's `uwsgi` object share inside one worker. It
// hangs on the global object, for the application may have brought its own copy
// of this package.

import { log } from './log.ts'

export type Hook = () => unknown

interface Seat {
  /** Descriptors of the master's listening sockets, in its order. */
  sockets: number[]
  postFork: Hook[]
  /** The `postFork` functions were called. */
  isForked: boolean
  exit: Hook[]
}

const key = Symbol.for('uwshm.seat')
const place = globalThis as { [key]?: Seat }

export const seat: Seat = (place[key] ??= { sockets: [], postFork: [], isForked: false, exit: [] })

export function onPostFork(hook: Hook): void {
  if (seat.isForked) void Promise.resolve().then(hook)
  else seat.postFork.push(hook)
}

/** One after the other; the first to fail is the end of it. */
export async function callPostFork(): Promise<void> {
  for (const hook of seat.postFork) await hook()
  seat.isForked = true
}

export function onExit(hook: Hook): void {
  if (seat.exit.length === 0) process.once('exit', callRest)
  seat.exit.push(hook)
}

/** Each once, one after the other. */
export async function callExit(): Promise<void> {
  for (let hook = seat.exit.shift(); hook !== undefined; hook = seat.exit.shift()) await attempt(hook)
}

/** The process ends at the return of this: nothing can be waited for. */
function callRest(): void {
  for (let hook = seat.exit.shift(); hook !== undefined; hook = seat.exit.shift()) void attempt(hook)
}

async function attempt(hook: Hook): Promise<void> {
  try {
    await hook()
  } catch (error) {
    log(`an onExit function failed: ${error instanceof Error ? error.stack : String(error)}`)
  }
}
