// Turns what was measured into docs/benchmarks.md. No figure stands in our
// documentation that this file did not print.

import { cpus } from 'node:os'

export interface Measured {
  ours: string
  map: string
  size: number
  /** CPU nanoseconds per call, one entry per round; the same place in two columns is the same round. */
  timings: Record<'ours1' | 'uwsgi1' | 'map1' | 'ours2' | 'uwsgi2', number[]>
}

type Column = keyof Measured['timings']

const calls: Record<string, [ours: string, uwsgi: string]> = {
  getString: ['`cache.getString(key)`', '`cache_get`'],
  getBuffer: ['`cache.get(key)`, a Buffer', '`cache_get`'],
  cacheGet: ["`uwsgi.cacheGet(key, 'pages')`, a Buffer", '`cache_get`'],
  missString: ['`cache.getString(key)`, absent', '`cache_get`, absent'],
  missCacheGet: ["`uwsgi.cacheGet(key, 'pages')`, absent", '`cache_get`, absent'],
  update: ['`cache.update(key, buffer)`', '`cache_update`'],
  updateString: ['`cache.update(key, string)`', '`cache_update`'],
  cacheUpdate: ["`uwsgi.cacheUpdate(key, buffer, 0, 'pages')`", '`cache_update`'],
  updateBitmap: ['`cache.update(key, buffer)`, in bitmap mode', '`cache_update`, in bitmap mode'],
  updateMixed: [
    '`cache.update(key, buffer)`, in bitmap mode, 100 and 300 B in turn',
    '`cache_update`, in bitmap mode, 100 and 300 B in turn',
  ],
  setAndDel: ['`cache.set(key, buffer)`, then `cache.del(key)`', '`cache_set`, then `cache_del`'],
  inc: ['`cache.inc(key)`', '`cache_inc`'],
}

const maps: Record<string, string> = {
  mapString: 'copied to a string',
  mapBuffer: 'copied to a Buffer',
  mapReference: 'by reference',
  mapMiss: 'absent',
  mapUpdate: 'set to a copied Buffer',
  mapInc: 'get and set a number',
}

/** What we hold ourselves to: a ratio of two columns of one comparison, and the bound it must keep. */
const floors: {
  says: string
  of: [loop: string, column: Column]
  by: [loop: string, column: Column]
  atLeast?: number
  atMost?: number
}[] = [
  {
    says: 'get 100 B as a string, times as fast as uWSGI',
    of: ['getString', 'uwsgi1'],
    by: ['getString', 'ours1'],
    atLeast: 1.7,
  },
  {
    says: '`uwsgi.cacheGet` 100 B as a Buffer, times as fast as uWSGI',
    of: ['cacheGet', 'uwsgi1'],
    by: ['cacheGet', 'ours1'],
    atLeast: 1.1,
  },
  {
    says: 'a miss, times as fast as uWSGI',
    of: ['missString', 'uwsgi1'],
    by: ['missString', 'ours1'],
    atLeast: 1.8,
  },
  {
    says: 'update 100 B, one process, times as fast as uWSGI',
    of: ['update', 'uwsgi1'],
    by: ['update', 'ours1'],
    atLeast: 1.4,
  },
  {
    says: 'update 100 B, two processes at once, times as fast as uWSGI',
    of: ['update', 'uwsgi2'],
    by: ['update', 'ours2'],
    atLeast: 2.5,
  },
  {
    says: 'update 100 B in bitmap mode, times as fast as uWSGI',
    of: ['updateBitmap', 'uwsgi1'],
    by: ['updateBitmap', 'ours1'],
    atLeast: 1.4,
  },
  {
    says: 'get 100 B with a second reader beside it, times the cost alone',
    of: ['getString', 'ours2'],
    by: ['getString', 'ours1'],
    atMost: 1.2,
  },
  {
    says: 'get 100 B as a string, times the cost of a Map look-up that copies',
    of: ['getString', 'ours1'],
    by: ['getString', 'map1'],
    atMost: 1.1,
  },
]

export function page(
  measured: Measured[],
  how: { rounds: number; duration: number; uwsgi: string; load: number },
): string {
  return `<!-- Written by \`npm run bench\`; do not edit. -->

# What a cache call costs

CPU nanoseconds per call: the median of ${how.rounds} rounds, and below it the lowest and the highest.

Machine: ${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.versions.node}, uWSGI ${how.uwsgi} (its Python plugin, called in a worker).
${busy(how.load)}

## The floors

| Promise | Bound | Measured | Lowest to highest round | |
|---|---|---|---|---|
${floors.map((floor) => floorRow(measured, floor)).join('\n')}

## One process

| ours | bytes | ours | uWSGI | uWSGI ÷ ours | Map | |
|---|---:|---:|---:|---:|---:|---|
${measured.map(oneProcess).join('\n')}

## Two processes at once, on the same keys of the same cache

| ours | bytes | ours, each | against alone | uWSGI, each | against alone | uWSGI ÷ ours |
|---|---:|---:|---:|---:|---:|---:|
${measured.map(twoProcesses).join('\n')}

## How it was measured

- 4096 keys of 16 bytes in a fixed shuffled order, made before the clock starts; every store was filled in another order.
  Values are ASCII. The loop is part of the figure on every side. One pass over the keys takes about a millisecond; a timing lasts ${how.duration} ms.
- CPU time (user and system) of the whole process, garbage collection included, so neighbours on the machine cost little.
- The columns of a row are timed in turn, round after round; a ratio is the median of the rounds' own ratios.
- Both uWSGI and we run with \`items=8192\` and a blocksize equal to the value; everything else is the default. In bitmap
  mode with \`blocks=65536,blocksize=64\`.
- Two processes start and stop at the same moment. Each figure is the mean of both.
- The Map lives in its own process and shares nothing; it is the ceiling of what JavaScript can do with a value it owns.

To do it again: \`apt-get install uwsgi-core uwsgi-plugin-python3\`, then \`npm run bench\` (about ${minutes(measured, how)} minutes). This page is
written anew.
`
}

function oneProcess({ ours, map, size, timings }: Measured) {
  return row(
    calls[ours]![0],
    size,
    spread(timings.ours1),
    spread(timings.uwsgi1),
    times(ratios(timings.uwsgi1, timings.ours1)),
    spread(timings.map1),
    maps[map]!,
  )
}

function twoProcesses({ ours, size, timings }: Measured) {
  return row(
    calls[ours]![0],
    size,
    spread(timings.ours2),
    times(ratios(timings.ours2, timings.ours1)),
    spread(timings.uwsgi2),
    times(ratios(timings.uwsgi2, timings.uwsgi1)),
    times(ratios(timings.uwsgi2, timings.ours2)),
  )
}

function floorRow(measured: Measured[], { says, of, by, atLeast, atMost }: (typeof floors)[number]) {
  const column = ([loop, name]: [string, Column]) =>
    measured.find(({ ours, size }) => ours === loop && size === 100)!.timings[name]
  const all = ratios(column(of), column(by))
  const kept = atLeast !== undefined ? median(all) >= atLeast : median(all) <= atMost!
  const bound = atLeast !== undefined ? `at least ${atLeast}` : `at most ${atMost}`
  return row(
    says,
    bound,
    median(all).toFixed(2),
    `${low(all).toFixed(2)} to ${high(all).toFixed(2)}`,
    kept ? 'kept' : '**not kept**',
  )
}

function row(...cells: (string | number)[]) {
  return `| ${cells.join(' | ')} |`
}

function ratios(above: number[], below: number[]) {
  return above.map((nanoseconds, round) => nanoseconds / below[round]!)
}

function spread(nanoseconds: number[]) {
  return `**${Math.round(median(nanoseconds))}**<br>${Math.round(low(nanoseconds))} to ${Math.round(high(nanoseconds))}`
}

function times(all: number[]) {
  return `${median(all).toFixed(2)}`
}

/** The load includes the two processes that are timed. */
function busy(load: number) {
  return load > 1.5
    ? `\nThe machine was busy with other work (load ${load.toFixed(1)}), so a pair seldom ran at the same moment: the figures for two processes flatter uWSGI.\n`
    : ''
}

function minutes(measured: Measured[], { rounds, duration }: { rounds: number; duration: number }) {
  return Math.max(1, Math.round((measured.length * 5 * (rounds + 1) * (duration + 10)) / 60_000))
}

export function median(numbers: number[]) {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!
}

export function low(numbers: number[]) {
  return Math.min(...numbers)
}

export function high(numbers: number[]) {
  return Math.max(...numbers)
}
