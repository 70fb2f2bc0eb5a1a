// What the master stores once a second, because no figure in shared memory holds
// it: memory and listen queues, which are the kernel's, and the sums over them.

import { native } from '../native.ts'
import { memoryOf } from './memory.ts'

export class Feed {
  private readonly stored: ReadonlyMap<string, number>
  /** Descriptors, in order. */
  private readonly sockets: readonly number[]
  private overloaded = 0
  private routed = 0
  private unrouted = 0

  constructor(stored: ReadonlyMap<string, number>, sockets: readonly number[]) {
    this.stored = stored
    this.sockets = sockets
  }

  tick(): void {
    const workers = native.workers()
    let [rss, vsz, heap] = [0, 0, 0]
    for (const { id, pid } of workers) {
      const memory = memoryOf(pid)
      rss += this.store(`worker.${id}.rss_size`, memory.rss)
      vsz += this.store(`worker.${id}.vsz_size`, memory.vsz)
      // A worker tells its heap itself; of one that is gone nothing is left.
      const own = `worker.${id}.heap_used`
      heap += pid === 0 ? this.store(own, 0) : this.load(own)
    }
    for (const name of ['worker.0.rss_size', 'core.total_rss']) this.store(name, rss)
    for (const name of ['worker.0.vsz_size', 'core.total_vsz']) this.store(name, vsz)
    this.store('worker.0.heap_used', heap)
    for (const [index, fd] of this.sockets.entries())
      this.store(`socket.${index}.listen_queue`, native.socketQueue(fd)[0])
    if (workers.every(({ pid, inFlight }) => pid !== 0 && inFlight > 0)) this.overloaded++
    this.store('core.overloaded', this.overloaded)
  }

  signalled(isHeard: boolean): void {
    if (isHeard) this.store('core.routed_signals', ++this.routed)
    else this.store('core.unrouted_signals', ++this.unrouted)
  }

  /** Returns what it stored; nothing is stored where --metric has put something else. */
  private store(name: string, value: number): number {
    const index = this.stored.get(name)
    if (index !== undefined) native.storeMetric(index, BigInt(value))
    return value
  }

  private load(name: string): number {
    const index = this.stored.get(name)
    return index === undefined ? 0 : native.metricValue(index)
  }
}
