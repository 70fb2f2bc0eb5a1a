// Turns what was measured into docs/hit-ratio.md.

import { cpus } from 'node:os'
import type { Workload } from './trace.ts'

export const policies = ['lru', 'lru-strict', 'sieve'] as const
/** Those that several processes are measured with. */
export const together = ['lru', 'lru-strict'] as const

/** Hit ratios in percent. */
export interface Row {
  workload: Workload
  items: number
  engine: Record<(typeof policies)[number], number>
  simulated: Record<'lru' | 'sieve' | 's3fifo' | 'fifo', number>
  optimum: number
}

/** Points of miss ratio above exact LRU, run by run. */
export interface Together extends Record<(typeof together)[number], number[]> {
  workload: Workload
  items: number
}

interface How {
  rounds: number
  requests: number
  warmUp: number
  keys: number
  scans: { every: number; length: number }
  processes: number
  turn: number
  load: number
  minutes: number
}

const head = `| Zipf | items | \`purge_lru\` | \`lru-strict\` | exact LRU | \`sieve\` | SIEVE | points | S3-FIFO | FIFO | optimum |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|`

export function page(alone: Row[], shared: Together[], how: How): string {
  const { rounds, requests, warmUp, keys, scans, processes, turn, load, minutes } = how
  const loops = alone.filter(({ workload }) => workload.loop)
  const rest = alone.filter(({ workload }) => !workload.loop)
  const plain = rest.filter(({ workload }) => !workload.scans)
  const fewerMisses = plain.map((row) => 100 - (100 * (100 - row.engine.sieve)) / (100 - row.simulated.lru))
  const floors = [
    promise(
      '`purge_lru` and `lru-strict`, one process: points from exact LRU, at the furthest',
      { most: 0 },
      furthest(alone.flatMap(({ engine, simulated }) => together.map((policy) => engine[policy] - simulated.lru))),
    ),
    promise(
      `\`purge_lru\`, ${processes} processes at once: points from exact LRU, at the furthest`,
      { most: 0.2 },
      furthest(shared.flatMap((row) => row.lru)),
    ),
    promise(
      '`sieve`: points from SIEVE as published, at the furthest, without loops',
      { most: 0.5 },
      furthest(rest.map((row) => row.engine.sieve - row.simulated.sieve)),
    ),
    promise(
      '`sieve`: % of the misses of exact LRU that it saves, at the least, without scans and loops',
      { least: 10 },
      Math.min(...fewerMisses),
    ),
  ]
  return `<!-- Written by \`npm run bench\`; do not edit. -->

# What stays in a full cache

Hits in percent of the requests. Beside the engine's policies stands what a simulator of each has from the same requests, and what others would have.

Machine: ${cpus().length} × ${cpus()[0]?.model.trim()}, load ${load.toFixed(1)}, Node ${process.versions.node}.

| Promise | Bound | Measured | |
|---|---|---:|---|
${floors.join('\n')}

S3-FIFO, which the engine does not have, would earn its lines by half a point more than SIEVE on average. With Zipf and scans it ${worth(rest)}; when a loop begins it ${worth(loops)}.

## One process

${head}
${rest.map(rowAlone).join('\n')}

## One process, when a loop begins

When the cache is full, a part of the requests turns to keys that were never there, in a loop: a fourth of what there is room for.

${head}
${loops.map(rowAlone).join('\n')}

SIEVE may never notice such a change: its hand runs close behind the newest items, finds none that was read yet, and so does not get back to the oldest.
LRU keeps the new keys, and S3-FIFO remembers those that went.

## ${processes} processes at once

Points of miss ratio more than exact LRU has, which is asked in the order of the trace: the least and the most of ${rounds} runs, each of another seed.

| Zipf | items | \`purge_lru\` | \`lru-strict\` |
|---|---:|---:|---:|
${shared.map(rowTogether).join('\n')}

## How it was measured

- ${count(keys)} keys; the n-th is asked for n^-s times as often as the first, with s of 0.8, 1.0 and 1.2. Caches of 0.1, 1 and 10 % of them.
  With scans: after every ${count(scans.every)} requests ${count(scans.length)} keys that come once.
- ${count(requests)} requests from a seeded generator; the first ${count(warmUp)} fill the cache and are not counted. A request is \`getString\`, and \`set\` after a miss.
- The simulators were written from the published descriptions: SIEVE (NSDI '24), S3-FIFO (SOSP '23: a tenth for new items, a ghost as long as the
  rest). The optimum is Belady's: who is wanted last goes.
- \`sieve\` differs from SIEVE in one thing: a hand that has come past the newest item waits for the next, while SIEVE's begins again with the oldest. With that,
  a simulator agrees with the engine in every request (test/process/hit-ratio.test.ts). What stays depends on chance for long: another seed gives other points.
- ${processes} processes take the requests of one trace ${turn} at a time, by a counter that they share, at full speed: so the order in which they ask is about that of the
  trace. With parts of their own, scans of one would meet what others read often: another trace, for any policy. \`lru-strict\` has an exact order among
  all: what it differs by is that order, and two who miss the same key at once.

To do it again: \`npm run bench\`, or after \`npm run build\` this page alone (about ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}): \`node --import tsx bench/hit-ratio.ts\`.
Without load it comes out the same but for the ${processes} processes.
`
}

function furthest(points: number[]): number {
  return Math.max(...points.map(Math.abs))
}

function worth(rows: Row[]): string {
  const points = rows.map(({ simulated }) => simulated.s3fifo - simulated.sieve)
  const mean = points.reduce((all, one) => all + one) / points.length
  const spread = `${signed(Math.min(...points))} to ${signed(Math.max(...points))}`
  return `${mean >= 0.5 ? 'does' : 'does not'}: ${spread}, on average ${signed(mean)}`
}

function promise(says: string, bound: { most: number } | { least: number }, measured: number): string {
  const isKept = 'most' in bound ? measured <= bound.most : measured >= bound.least
  const limit = 'most' in bound ? `at most ${bound.most}` : `at least ${bound.least}`
  return `| ${says} | ${limit} | ${measured.toFixed(2)} | ${isKept ? 'kept' : '**not kept**'} |`
}

function rowAlone({ workload, items, engine, simulated, optimum }: Row): string {
  const ratios = [engine.lru, engine['lru-strict'], simulated.lru, engine.sieve, simulated.sieve]
  const points = signed(engine.sieve - simulated.sieve)
  const others = [simulated.s3fifo, simulated.fifo, optimum]
  const cells = [...ratios.map((one) => one.toFixed(2)), points, ...others.map((one) => one.toFixed(2))]
  return `| ${zipf(workload)} | ${count(items)} | ${cells.join(' | ')} |`
}

function rowTogether({ workload, items, ...points }: Together): string {
  const spread = (all: number[]) => `${signed(Math.min(...all))} to ${signed(Math.max(...all))}`
  return `| ${zipf(workload)} | ${count(items)} | ${spread(points.lru)} | ${spread(points['lru-strict'])} |`
}

function zipf({ skew, scans, loop }: Workload): string {
  return `${skew.toFixed(1)}${scans ? ', scans' : ''}${loop ? `, ${100 * loop.share} % in a loop` : ''}`
}

function count(number: number): string {
  return number.toLocaleString('en')
}

function signed(points: number): string {
  const text = points.toFixed(2)
  return text === '-0.00' ? '0.00' : points > 0 && text !== '0.00' ? `+${text}` : text
}
