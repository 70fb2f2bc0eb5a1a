// A process that times itself: it is forked by rivals.ts, told what to run and from
// when to when, and answers with nanoseconds per call.

import { makeKeys, milliseconds } from './keys.ts'

export interface Task {
  loop: string
  size: number
  /** Milliseconds of the monotonic clock. */
  start: number
  end: number
}

export interface Timing {
  pid: number
  /** CPU, per call. */
  nanoseconds: number
  /** On the clock, per call: to compare with what waits for another process. */
  wall: number
}

/** Makes one pass over all keys for values of `size` bytes; returns something that grew by what it got. */
export type Loops = Record<string, (size: number) => () => number>

const calls = makeKeys().length

export function answerWith(loops: Loops): void {
  const prepared = new Map<string, () => number>()

  process.on('message', ({ loop, size, start, end }: Task) => {
    const name = `${loop} ${size}`
    const pass = prepared.get(name) ?? loops[loop]!(size)
    prepared.set(name, pass)

    let passes = 0
    while (milliseconds() < start);
    const [before, began] = [process.cpuUsage(), milliseconds()]
    do {
      if (pass() <= 0) throw new Error(`${name} got nothing: it is not filled`)
      passes++
    } while (milliseconds() < end)
    const { user, system } = process.cpuUsage(before)
    const wall = ((milliseconds() - began) * 1e6) / (passes * calls)
    process.send?.({ pid: process.pid, nanoseconds: ((user + system) * 1000) / (passes * calls), wall })
  })
}
