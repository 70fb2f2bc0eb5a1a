// `npm run bench`: what stays in a full cache? Each policy on the engine itself,
// beside a simulator that is asked for the same keys, and beside others that the
// engine does not have. Writes docs/hit-ratio.md.
//
// Forked, it is one of the processes that share a cache.
//
// UWSHM_BENCH_ROUNDS and UWSHM_BENCH_REQUESTS shorten it while working on it.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { create, uwsgi } from '../dist/index.js'
import { page, policies, type Row, type Together, together } from './hit-ratio-page.ts'
import { fifo, lru, optimum, type Policy, type Simulator, s3fifo, sieve } from './policies.ts'
import { engine, hits, largestOf, traceOf, type Workload } from './trace.ts'

const rounds = Number(process.env.UWSHM_BENCH_ROUNDS ?? 3)
const requests = Number(process.env.UWSHM_BENCH_REQUESTS ?? 1_250_000)
const warmUp = Math.round(requests / 5)
const keys = 100_000
const scans = { every: 10_000, length: 5_000 }
const sizes = [100, 1_000, 10_000]
const loopShares = [0.1, 0.5]
const processes = 4
const turn = 16

/** A part of a cache's life: who takes part takes `turn` requests at a time, the next that nobody has. */
interface Task {
  workload: Workload
  cache: string
  from: number
  to: number
}

const workloads = [undefined, scans].flatMap((scans) =>
  [0.8, 1, 1.2].map((skew): Workload => ({ keys, skew, requests, seed: 1, ...(scans && { scans }) })),
)

let last: { workload: string; trace: Int32Array } | undefined

if (process.send) {
  process.on('message', (task: Task) => process.send!(takePart(task)))
  process.send('ready')
} else await main()

function takePart({ workload, cache, from, to }: Task): number {
  const trace = traceOnce(workload)
  const policy = engine(uwsgi.cache(cache))
  const turns = uwsgi.cache('turns')
  let count = 0
  for (;;) {
    const at = from + (turns.inc(`${cache} ${from}`)! - 1) * turn
    if (at >= to) return count
    count += hits(policy, trace, at, Math.min(at + turn, to))
  }
}

function loopsFor(items: number): Workload[] {
  return loopShares.map((share) => {
    const loop = { from: warmUp, share, length: items / 4 }
    return { keys, skew: 1, requests, seed: 1, loop }
  })
}

async function main() {
  const [load] = loadavg() as [number]
  const cases = workloads.flatMap((workload) => sizes.map((items) => ({ workload, items })))
  const loops = sizes.flatMap((items) => loopsFor(items).map((workload) => ({ workload, items })))
  const seeds = Array.from({ length: rounds }, (_, i) => i + 1)
  const cache = (who: string, { items }: { items: number }, policy: (typeof policies)[number]) =>
    ({ name: `${who} ${policy}`, items, blocksize: 8, policy }) as const
  create({
    cache2: [
      { name: 'turns', items: 1000, blocksize: 8 },
      ...[...cases, ...loops].flatMap((one, i) => policies.map((policy) => cache(`alone ${i}`, one, policy))),
      ...cases.flatMap((one, i) =>
        seeds.flatMap((seed) => together.map((policy) => cache(`together ${i} ${seed}`, one, policy))),
      ),
    ],
  })
  const began = performance.now()
  const alone = [...cases, ...loops].map(({ workload, items }, i) => measureAlone(workload, items, `alone ${i}`))
  const shared = await measureTogether(
    cases.map((one) => ({ ...one, lru: [], 'lru-strict': [] })),
    seeds,
  )
  const minutes = Math.max(1, Math.round((performance.now() - began) / 60_000))
  const how = { rounds, requests, warmUp, keys, scans, processes, turn, load, minutes }
  writeFileSync('docs/hit-ratio.md', page(alone, shared, how))
  console.log('written to docs/hit-ratio.md')
  process.exit()
}

function traceOnce(workload: Workload): Int32Array {
  const text = JSON.stringify(workload)
  if (last?.workload !== text) last = { workload: text, trace: traceOf(workload) }
  return last.trace
}

function ratio(policy: Policy, trace: Int32Array): number {
  hits(policy, trace, 0, warmUp)
  return percent(hits(policy, trace, warmUp))
}

function percent(count: number): number {
  return (100 * count) / (requests - warmUp)
}

function measureAlone(workload: Workload, items: number, name: string): Row {
  const trace = traceOnce(workload)
  const largest = largestOf(trace)
  const ours = (policy: (typeof policies)[number]) => ratio(engine(uwsgi.cache(`${name} ${policy}`)), trace)
  const simulated = (simulator: Simulator) => ratio(simulator(items, largest), trace)
  return {
    workload,
    items,
    engine: { lru: ours('lru'), 'lru-strict': ours('lru-strict'), sieve: ours('sieve') },
    simulated: { lru: simulated(lru), sieve: simulated(sieve), s3fifo: simulated(s3fifo), fifo: simulated(fifo) },
    optimum: ratio(optimum(trace, items, largest), trace),
  }
}

async function measureTogether(rows: Together[], seeds: number[]): Promise<Together[]> {
  const children: ChildProcess[] = []
  for (let i = 0; i < processes; i++) {
    const child = fork(import.meta.filename)
    await once(child, 'message')
    children.push(child)
  }
  const ask = async (task: Task) => {
    const counts = children.map(async (child) => {
      child.send(task)
      return ((await once(child, 'message')) as [number])[0]
    })
    return (await Promise.all(counts)).reduce((all, count) => all + count)
  }
  for (const workload of workloads)
    for (const seed of seeds) {
      const seeded = { ...workload, seed }
      const trace = traceOnce(seeded)
      for (const [i, row] of rows.entries()) {
        if (row.workload !== workload) continue
        const exact = ratio(lru(row.items, largestOf(trace)), trace)
        for (const policy of together) {
          const task = { workload: seeded, cache: `together ${i} ${seed} ${policy}` }
          await ask({ ...task, from: 0, to: warmUp })
          row[policy].push(exact - percent(await ask({ ...task, from: warmUp, to: requests })))
        }
      }
    }
  for (const child of children) child.kill()
  return rows
}
