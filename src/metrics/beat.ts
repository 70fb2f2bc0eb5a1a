// How late this worker's timers are, told once a second: the time that a client
// waits because the event loop is busy with others.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { native } from '../native.ts'

const everyMs = 1000
/** Node measures with a timer of its own. Fifty of its ticks a second cost an idle worker about a thousandth of a core. */
const resolutionMs = 20

export function startBeat(): void {
  const delays = monitorEventLoopDelay({ resolution: resolutionMs })
  delays.enable()
  // The histogram holds the time from tick to tick.
  const late = (nanoseconds: number) => Math.max(0, Math.round(nanoseconds / 1000) - resolutionMs * 1000)
  setInterval(() => {
    if (delays.count > 0) native.beat(late(delays.percentile(50)), late(delays.percentile(99)), late(delays.max))
    delays.reset()
  }, everyMs).unref()
}
