// Turns what was measured into docs/benchmarks.md. No figure stands in our
// documentation that this file did not print.

import { cpus } from 'node:os'
import { floorRows } from './floors.ts'
import { high, low, median, ratios } from './rounds.ts'

export interface Measured {
  ours: string
  map: string
  size: number
  beside?: string[]
  /** Nanoseconds per call, one entry per round; the same place in two columns is the same round. */
  timings: Record<string, number[]>
}

const calls: Record<string, [ours: string, uwsgi: string]> = {
  getString: ['`cache.getString(key)`', '`cache_get`'],
  getBuffer: ['`cache.get(key)`, a Buffer', '`cache_get`'],
  getInto: ['`cache.getInto(key, array)`', '`cache_get`'],
  freshString: ['`cache.getString(prefix + n)`', '`cache_get`, its key made before'],
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
  evictLru: ['`cache.update(key, buffer)`, full, `purge_lru`', '`cache_update`, full, `purge_lru`'],
  evictStrict: ['`cache.update(key, buffer)`, full, `policy=lru-strict`', '`cache_update`, full, `purge_lru`'],
  evictSieve: ['`cache.update(key, buffer)`, full, `policy=sieve`', '`cache_update`, full, `purge_lru`'],
  setAndDel: ['`cache.set(key, buffer)`, then `cache.del(key)`', '`cache_set`, then `cache_del`'],
  inc: ['`cache.inc(key)`', '`cache_inc`'],
}

const maps: Record<string, string> = {
  mapString: 'copied to a string',
  mapBuffer: 'copied to a Buffer',
  mapReference: 'by reference',
  mapFresh: 'the key made, the value copied to a string',
  mapMiss: 'absent',
  mapUpdate: 'set to a copied Buffer',
  mapInc: 'get and set a number',
}

/** Of the other columns: whose call it is. */
const others: Record<string, string> = {
  mapReference: 'Map, by reference',
  lmdbString: 'lmdb `getBinaryFast`, then `latin1Slice`',
  lmdbFast: 'lmdb `getBinaryFast`: a Buffer that the next call overwrites',
  lmdbBinary: 'lmdb `getBinary`',
  lmdbMiss: 'lmdb `getBinary`, absent',
  lmdbPut: 'lmdb `putSync`',
  lmdbBatch: 'lmdb `putSync`, a hundred in a transaction',
  lmdbInc: 'lmdb, read and written in a transaction',
  sqliteGet: 'better-sqlite3, select',
  sqliteMiss: 'better-sqlite3, select, absent',
  sqlitePut: 'better-sqlite3, insert or replace',
  sqliteInc: 'better-sqlite3, update',
  redisGet: 'Redis (ioredis) `GET`, one at a time',
  redisPipelined: 'Redis (ioredis) `GET`, a hundred in a pipeline',
  redisSet: 'Redis (ioredis) `SET`, one at a time',
  redisInc: 'Redis (ioredis) `INCR`, one at a time',
  memcachedGet: 'memcached (memjs) `get`, one at a time',
  memcachedSet: 'memcached (memjs) `set`, one at a time',
}

export function page(
  measured: Measured[],
  memory: { ours: number; uwsgi: number },
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
${floorRows(measured)}
${memoryFloor(memory)}

## One process

| ours | bytes | ours | uWSGI | uWSGI ÷ ours | Map | |
|---|---:|---:|---:|---:|---:|---|
${measured.map(oneProcess).join('\n')}

## Two processes at once, on the same keys of the same cache

| ours | bytes | ours, each | against alone | uWSGI, each | against alone | uWSGI ÷ ours |
|---|---:|---:|---:|---:|---:|---:|
${measured.map(twoProcesses).join('\n')}

## Beside other stores, 100 bytes

CPU nanoseconds; of the servers, which are asked over a socket, nanoseconds on the clock, as ours are there.

| | ns | ours | times |
|---|---:|---:|---:|
${measured.flatMap(besides).join('\n')}

## Memory

100,000 items of 128 bytes under keys of 16 bytes, everything but \`items\` and \`blocksize\` left at its default: ours take **${mib(memory.ours)} MiB** of shared
memory, uWSGI's **${mib(memory.uwsgi)} MiB** (RssShmem of a process that stored them).

## How it was measured

- 4096 keys of 16 bytes in a fixed shuffled order, made before the clock starts; every store was filled in another order.
  Values are ASCII. The loop is part of the figure on every side. One pass over the keys takes about a millisecond; a timing lasts ${how.duration} ms.
- CPU time (user and system) of the whole process, garbage collection included, so neighbours on the machine cost little.
- The columns of a row are timed in turn, round after round; a ratio is the median of the rounds' own ratios.
- Both uWSGI and we run with \`items=8192\` and a blocksize equal to the value; everything else is the default. In bitmap
  mode with \`blocks=65536,blocksize=64\`.
- In the rows with a full cache it holds 2048 items and the keys go round, so that each update makes another item go.
- lmdb lies in a memory file system and does not sync, SQLite too (WAL, \`synchronous=OFF\`); Redis is asked over a unix socket, memcached
  over loopback, neither writes to a disk. One client each, 2000 calls a round.
- What is not kept, and why. A Buffer of your own is new memory each time, which no cache of the processor has: from about a kilobyte on that
  costs more than all else, and \`getInto\` is the way out; slabs of up to a megabyte, other ways to copy and another threshold for
  giving memory back were tried and do not change it. The bounds against lmdb's writes were set on a machine where one took 18 µs and a
  transaction 40: nearly all of that is the kernel's, and here it takes a quarter.
- Two processes start and stop at the same moment. Each figure is the mean of both.
- The Map lives in its own process and shares nothing; it is the ceiling of what JavaScript can do with a value it owns.

To do it again: \`apt-get install uwsgi-core uwsgi-plugin-python3 redis-server memcached\`, \`npm ci --prefix bench\`, then \`npm run bench\`
(this page: about ${minutes(measured, how)} minutes). It is written anew.
`
}

function oneProcess({ ours, map, size, timings }: Measured) {
  return row(
    calls[ours]![0],
    size,
    spread(timings.ours1!),
    spread(timings.uwsgi1!),
    times(ratios(timings.uwsgi1!, timings.ours1!)),
    spread(timings.map1!),
    maps[map]!,
  )
}

function twoProcesses({ ours, size, timings }: Measured) {
  return row(
    calls[ours]![0],
    size,
    spread(timings.ours2!),
    times(ratios(timings.ours2!, timings.ours1!)),
    spread(timings.uwsgi2!),
    times(ratios(timings.uwsgi2!, timings.uwsgi1!)),
    times(ratios(timings.uwsgi2!, timings.ours2!)),
  )
}

/** The page's rows of what a comparison has beside it. */
function besides({ ours, beside = [], timings }: Measured): string[] {
  const here = beside.filter((loop) => timings[loop] !== undefined)
  return here.map((loop) => {
    const mine = timings[/^(redis|memcached)/.test(loop) ? 'ours1Wall' : 'ours1']!
    const all = ratios(timings[loop]!, mine)
    return row(others[loop]!, spread(timings[loop]!), `${calls[ours]![0]} ${Math.round(median(mine))}`, times(all))
  })
}

function memoryFloor({ ours, uwsgi }: { ours: number; uwsgi: number }): string {
  const part = ours / uwsgi
  const isKept = part <= 0.25
  return row(
    'memory of 100,000 items of 128 B, parts of uWSGI’s',
    'at most 0.25',
    part.toFixed(2),
    '',
    isKept ? 'kept' : '**not kept**',
  )
}

function mib(kib: number): number {
  return Math.round(kib / 1024)
}

function row(...cells: (string | number)[]) {
  return `| ${cells.join(' | ')} |`
}

function spread(nanoseconds: number[]) {
  return `**${Math.round(median(nanoseconds))}**<br>${Math.round(low(nanoseconds))} to ${Math.round(high(nanoseconds))}`
}

function times(all: number[]) {
  const middle = median(all)
  return middle.toFixed(middle < 20 ? 2 : 0)
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
