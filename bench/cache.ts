// `npm run bench`: what does a cache call cost, beside real uWSGI, a Map, and the stores that people use instead?
//
// Each row of the plan is a comparison; its columns are timed in turn, round after
// round, so that a noisy minute falls on all of them alike. Writes docs/benchmarks.md.
//
// UWSHM_BENCH_ROUNDS and UWSHM_BENCH_MS shorten it while working on it.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { create, uwsgi } from '../dist/index.js'
import { inOrder, makeKeys, sizes } from './keys.ts'
import { type Measured, page } from './page.ts'
import { startNode, startUwsgi, uwsgiMemory, uwsgiVersion } from './rivals.ts'
import { median } from './rounds.ts'
import { serversMissing, startServers } from './servers.ts'

const rounds = Number(process.env.UWSHM_BENCH_ROUNDS ?? 9)
const duration = Number(process.env.UWSHM_BENCH_MS ?? 100)

interface Comparison {
  /** Our loop, uWSGI's, a Map's; the names in loops.ts and uwsgi.py. */
  ours: string
  uwsgi: string
  map: string
  sizes: number[]
  /** More loops, for 100 bytes: of loops.ts, stores.ts and servers.ts, by how their names begin. */
  beside?: string[]
}

const plan: Comparison[] = [
  {
    ...{ ours: 'getString', uwsgi: 'get', map: 'mapString', sizes },
    beside: ['mapReference', 'lmdbString', 'lmdbFast', 'sqliteGet', 'redisGet', 'redisPipelined', 'memcachedGet'],
  },
  { ours: 'freshString', uwsgi: 'get', map: 'mapFresh', sizes: [100] },
  { ours: 'getBuffer', uwsgi: 'get', map: 'mapBuffer', sizes, beside: ['lmdbBinary'] },
  { ours: 'getInto', uwsgi: 'get', map: 'mapBuffer', sizes },
  { ours: 'cacheGet', uwsgi: 'get', map: 'mapReference', sizes },
  { ours: 'missString', uwsgi: 'miss', map: 'mapMiss', sizes: [100], beside: ['lmdbMiss', 'sqliteMiss'] },
  { ours: 'missCacheGet', uwsgi: 'miss', map: 'mapMiss', sizes: [100] },
  {
    ...{ ours: 'update', uwsgi: 'update', map: 'mapUpdate', sizes },
    beside: ['lmdbPut', 'lmdbBatch', 'sqlitePut', 'redisSet', 'memcachedSet'],
  },
  { ours: 'updateString', uwsgi: 'update', map: 'mapUpdate', sizes },
  { ours: 'cacheUpdate', uwsgi: 'update', map: 'mapUpdate', sizes: [100] },
  { ours: 'updateBitmap', uwsgi: 'update_bitmap', map: 'mapUpdate', sizes: [100] },
  { ours: 'updateMixed', uwsgi: 'update_mixed', map: 'mapUpdate', sizes: [100] },
  { ours: 'evictLru', uwsgi: 'evict', map: 'mapUpdate', sizes: [100] },
  { ours: 'evictStrict', uwsgi: 'evict', map: 'mapUpdate', sizes: [100] },
  { ours: 'evictSieve', uwsgi: 'evict', map: 'mapUpdate', sizes: [100] },
  { ours: 'setAndDel', uwsgi: 'set_and_del', map: 'mapUpdate', sizes: [100] },
  { ours: 'inc', uwsgi: 'inc', map: 'mapInc', sizes: [8], beside: ['lmdbInc', 'sqliteInc', 'redisInc'] },
]

// Before we add to it: what others do on this machine.
const [load] = loadavg() as [number, number, number]

const version = uwsgiVersion()
if (version === null) {
  console.error('the benchmark compares with real uWSGI; on Debian: apt-get install uwsgi-core uwsgi-plugin-python3')
  process.exit(1)
}
const missing = serversMissing()
if (missing.length > 0) {
  console.error(
    `the benchmark compares with ${missing.join(' and ')}; on Debian: apt-get install redis-server memcached`,
  )
  process.exit(1)
}

const bytes = await memory()
create({
  cache2: [
    ...sizes.map((size) => ({ name: `v${size}`, items: 8192, blocksize: size })),
    { name: 'counters', items: 8192, blocksize: 8 },
    { name: 'runs', items: 8192, blocksize: 64, blocks: 65536, bitmap: true },
    ...['lru', 'lru-strict', 'sieve'].map((policy) => ({ name: policy, items: 2048, blocksize: 100, policy })),
  ],
})

const peer = await startUwsgi([
  ...sizes.map((size) => `name=v${size},items=8192,blocksize=${size}`),
  'name=counters,items=8192,blocksize=8',
  'name=runs,items=8192,blocksize=64,blocks=65536,bitmap=1',
  'name=lru,items=2049,blocksize=100,purge_lru=1,ignore_full=1',
])
await fill()
const servers = await startServers([100])
const stores = startNode('stores.ts')

const measured: Measured[] = []
for (const row of plan) for (const size of row.sizes) measured.push(await compare(row, size))

await Promise.all([peer.stop(), servers.stop(), stores.stop()])
writeFileSync('docs/benchmarks.md', page(measured, bytes, { rounds, duration, uwsgi: version, load }))
console.log('written to docs/benchmarks.md')
process.exit()

async function compare(row: Comparison, size: number): Promise<Measured> {
  // Fresh processes for each comparison: a call site that serves one cache is compiled for that one.
  const ours = startNode()
  const map = startNode()
  const cpu = async (time: Promise<{ cpu: number }>) => (await time).cpu
  let wall = 0
  const columns: Record<string, () => Promise<number>> = {
    async ours1() {
      const time = await ours.time(row.ours, size, 1, duration)
      wall = time.wall
      return time.cpu
    },
    ours1Wall: () => Promise.resolve(wall),
    uwsgi1: () => cpu(peer.time(row.uwsgi, size, 1, duration)),
    map1: () => cpu(map.time(row.map, size, 1, duration)),
    ours2: () => cpu(ours.time(row.ours, size, 2, duration)),
    uwsgi2: () => cpu(peer.time(row.uwsgi, size, 2, duration)),
  }
  for (const loop of size === 100 || size === 8 ? (row.beside ?? []) : [])
    columns[loop] = loop.startsWith('map')
      ? () => cpu(map.time(loop, size, 1, duration))
      : /^(redis|memcached)/.test(loop)
        ? () => servers.time(loop, size, 2000)
        : () => cpu(stores.time(loop, size, 1, duration))

  // The first round warms up and is not counted.
  const timings: Measured['timings'] = {}
  for (let round = 0; round <= rounds; round++)
    for (const [column, time] of Object.entries(columns)) {
      const nanoseconds = await time()
      if (round > 0) timings[column] = [...(timings[column] ?? []), nanoseconds]
    }

  const medians = Object.entries(timings).map(([column, all]) => `${column} ${Math.round(median(all))}`)
  console.log(`${row.ours.padEnd(14)} ${`${size}`.padStart(5)} B   ${medians.join('   ')}`)
  await Promise.all([ours.stop(), map.stop()])
  return { ...row, size, timings }
}

/** KiB that 100,000 items of 128 bytes take. uWSGI gets the one item more that it does not hold. */
async function memory(): Promise<{ ours: number; uwsgi: number }> {
  const child = fork(new URL('memory.ts', import.meta.url))
  const [ours] = (await once(child, 'message')) as [number]
  return { ours, uwsgi: await uwsgiMemory('name=many,items=100001,blocksize=128', 'fill_many') }
}

/** Both sides hold the same 4096 items of every size, and as many counters; the absent keys stay absent. */
async function fill() {
  const keys = inOrder(makeKeys())
  for (const size of sizes) {
    const cache = uwsgi.cache(`v${size}`)
    for (const key of keys) cache.update(key, Buffer.alloc(size, 'x'))
    for (const processes of [1, 2] as const) await peer.time('fill', size, processes, 0)
  }
  for (const key of keys) uwsgi.cache('runs').update(key, Buffer.alloc(100, 'x'))
  for (const processes of [1, 2] as const) await peer.time('fill_runs', 100, processes, 0)
  for (const key of keys) uwsgi.cache('counters').inc(key)
  for (const processes of [1, 2] as const) await peer.time('fill_counters', 8, processes, 0)
}
