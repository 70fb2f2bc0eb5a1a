// How long to wait before a dead worker is replaced. Each worker has its own
// patience; uWSGI sleeps in its master, and everything else with it.
//
// A worker that served comes back at once: its death is an accident, and every
// moment costs requests. If it keeps ending young by itself, starting it without
// a pause would take the processor from the others, so a pause grows, and stays
// below a second. Who is killed (-9) has done nothing wrong and never waits. A
// worker that never came to serve will most likely fail again: there the pause
// doubles up to ten seconds.

const young = 1000

export class Patience {
  private early = 0
  private failed = 0

  /** Milliseconds to wait. `servedMs`: how long it served, null if it never did. */
  afterDeath(servedMs: number | null, wasKilled = false): number {
    if (servedMs !== null && wasKilled) return 0
    if (servedMs === null) return Math.min(100 * 2 ** this.failed++, 10_000)
    this.failed = 0
    this.early = servedMs < young ? this.early + 1 : 0
    return Math.min(Math.max(0, this.early - 3) * 100, 800)
  }
}
