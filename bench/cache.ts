// `npm run bench`: what does a cache call cost, beside real uWSGI and beside a Map?
//
// Each row of the plan is a comparison; its columns are timed in turn, round after
// round, so that a noisy minute falls on all of them alike. Writes docs/benchmarks.md.
//
// UWSHM_BENCH_ROUNDS and UWSHM_BENCH_MS shorten it while working on it.

import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { create, uwsgi } from '../dist/index.js'
import { inOrder, makeKeys, sizes } from './loops.ts'
import { type Measured, median, page } from './page.ts'
import { startNode, startUwsgi, uwsgiVersion } from './rivals.ts'

const rounds = Number(process.env.UWSHM_BENCH_ROUNDS ?? 9)
const duration = Number(process.env.UWSHM_BENCH_MS ?? 100)

/** What is compared: our loop, uWSGI's, a Map's; the names in loops.ts and uwsgi.py. */
const plan: { ours: string; uwsgi: string; map: string; sizes: number[] }[] = [
  { ours: 'getString', uwsgi: 'get', map: 'mapString', sizes },
  { ours: 'getBuffer', uwsgi: 'get', map: 'mapBuffer', sizes },
  { ours: 'cacheGet', uwsgi: 'get', map: 'mapReference', sizes },
  { ours: 'missString', uwsgi: 'miss', map: 'mapMiss', sizes: [100] },
  { ours: 'missCacheGet', uwsgi: 'miss', map: 'mapMiss', sizes: [100] },
  { ours: 'update', uwsgi: 'update', map: 'mapUpdate', sizes },
  { ours: 'updateString', uwsgi: 'update', map: 'mapUpdate', sizes },
  { ours: 'cacheUpdate', uwsgi: 'update', map: 'mapUpdate', sizes: [100] },
  { ours: 'updateBitmap', uwsgi: 'update_bitmap', map: 'mapUpdate', sizes: [100] },
  { ours: 'updateMixed', uwsgi: 'update_mixed', map: 'mapUpdate', sizes: [100] },
  { ours: 'setAndDel', uwsgi: 'set_and_del', map: 'mapUpdate', sizes: [100] },
  { ours: 'inc', uwsgi: 'inc', map: 'mapInc', sizes: [8] },
]

// Before we add to it: what others do on this machine.
const [load] = loadavg() as [number, number, number]

const version = uwsgiVersion()
if (version === null) {
  console.error('the benchmark compares with real uWSGI; on Debian: apt-get install uwsgi-core uwsgi-plugin-python3')
  process.exit(1)
}

create({
  cache2: [
    ...sizes.map((size) => ({ name: `v${size}`, items: 8192, blocksize: size })),
    { name: 'counters', items: 8192, blocksize: 8 },
    { name: 'runs', items: 8192, blocksize: 64, blocks: 65536, bitmap: true },
  ],
})

const peer = await startUwsgi()
await fill()

const measured: Measured[] = []
for (const row of plan) {
  for (const size of row.sizes) {
    // Fresh processes for each comparison: a call site that serves one cache is compiled for that one.
    const ours = await startNode()
    const map = await startNode()
    const columns = {
      ours1: () => ours.time(row.ours, size, 1, duration),
      uwsgi1: () => peer.time(row.uwsgi, size, 1, duration),
      map1: () => map.time(row.map, size, 1, duration),
      ours2: () => ours.time(row.ours, size, 2, duration),
      uwsgi2: () => peer.time(row.uwsgi, size, 2, duration),
    }
    const timings: Measured['timings'] = { ours1: [], uwsgi1: [], map1: [], ours2: [], uwsgi2: [] }

    // The first round warms up and is not counted.
    for (let round = 0; round <= rounds; round++)
      for (const [column, time] of Object.entries(columns)) {
        const nanoseconds = await time()
        if (round > 0) timings[column as keyof typeof timings].push(nanoseconds)
      }

    measured.push({ ...row, size, timings })
    const medians = Object.entries(timings).map(([column, all]) => `${column} ${Math.round(median(all))}`)
    console.log(`${row.ours.padEnd(14)} ${`${size}`.padStart(5)} B   ${medians.join('   ')}`)
    await ours.stop()
    await map.stop()
  }
}

await peer.stop()
writeFileSync('docs/benchmarks.md', page(measured, { rounds, duration, uwsgi: version, load }))
console.log('written to docs/benchmarks.md')

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
