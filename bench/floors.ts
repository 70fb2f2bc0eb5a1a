// What we hold ourselves to: a ratio of two columns of one comparison, and the bound it must keep. A floor that is not
// kept is written down as such.

import type { Measured } from './page.ts'
import { high, low, median, ratios } from './rounds.ts'

interface Floor {
  says: string
  /** The comparison, by the name of our loop; 100 bytes unless told. */
  loop: string
  size?: number
  /** The columns whose ratio it is. */
  of: string
  by?: string
  atLeast?: number
  atMost?: number
}

const floors: Floor[] = [
  { says: 'get 100 B as a string, times as fast as uWSGI', loop: 'getString', of: 'uwsgi1', atLeast: 1.7 },
  { says: '… two processes at once', loop: 'getString', of: 'uwsgi2', by: 'ours2', atLeast: 2.5 },
  { says: '… with a second reader beside it, times the cost alone', loop: 'getString', of: 'ours2', atMost: 1.2 },
  { says: '… times as fast as lmdb, `getBinaryFast` made a string', loop: 'getString', of: 'lmdbString', atLeast: 4 },
  { says: '… times as fast as lmdb, bare `getBinaryFast`', loop: 'getString', of: 'lmdbFast', atLeast: 3.5 },
  { says: '… times the cost of a Map look-up that copies', loop: 'getString', of: 'ours1', by: 'map1', atMost: 1.1 },
  {
    says: '… times the cost of a Map look-up that does not',
    ...{ loop: 'getString', of: 'ours1', by: 'mapReference', atMost: 3.8 },
  },
  {
    says: 'make a key and get 100 B with it, times the cost with a Map',
    ...{ loop: 'freshString', of: 'ours1', by: 'map1', atMost: 1.1 },
  },
  { says: 'a miss, times as fast as uWSGI', loop: 'missString', of: 'uwsgi1', atLeast: 1.8 },
  { says: '… as lmdb', loop: 'missString', of: 'lmdbMiss', atLeast: 5 },
  { says: 'get 100 B as a Buffer, times as fast as lmdb `getBinary`', loop: 'getBuffer', of: 'lmdbBinary', atLeast: 5 },
  {
    says: '… times the cost of a Map look-up and `Buffer.from`',
    ...{ loop: 'getBuffer', of: 'ours1', by: 'map1', atMost: 1.4 },
  },
  { says: '`uwsgi.cacheGet` 100 B, times as fast as uWSGI', loop: 'cacheGet', of: 'uwsgi1', atLeast: 1.1 },
  { says: 'get 1 KiB as a string, times as fast as uWSGI', loop: 'getString', size: 1024, of: 'uwsgi1', atLeast: 1 },
  { says: '… as a Buffer', loop: 'getBuffer', size: 1024, of: 'uwsgi1', atLeast: 1.3 },
  { says: '… into an array', loop: 'getInto', size: 1024, of: 'uwsgi1', atLeast: 1.3 },
  {
    says: 'get 16 KiB as a string, times as fast as uWSGI',
    ...{ loop: 'getString', size: 16384, of: 'uwsgi1', atLeast: 0.6 },
  },
  { says: '… as a Buffer', loop: 'getBuffer', size: 16384, of: 'uwsgi1', atLeast: 1 },
  { says: '… into an array', loop: 'getInto', size: 16384, of: 'uwsgi1', atLeast: 1 },
  { says: 'update 100 B, times as fast as uWSGI', loop: 'update', of: 'uwsgi1', atLeast: 1.4 },
  { says: '… two processes at once', loop: 'update', of: 'uwsgi2', by: 'ours2', atLeast: 3 },
  { says: '… as lmdb `putSync`', loop: 'update', of: 'lmdbPut', atLeast: 100 },
  { says: '… as lmdb, a hundred in a transaction', loop: 'update', of: 'lmdbBatch', atLeast: 15 },
  { says: '… in bitmap mode, as uWSGI', loop: 'updateBitmap', of: 'uwsgi1', atLeast: 1.4 },
  { says: 'a counter, times as fast as uWSGI', loop: 'inc', size: 8, of: 'uwsgi1', atLeast: 1.7 },
  { says: '… as lmdb, a transaction each', loop: 'inc', size: 8, of: 'lmdbInc', atLeast: 200 },
  {
    says: 'get 100 B, times as fast as Redis, one at a time (on the clock)',
    ...{ loop: 'getString', of: 'redisGet', by: 'ours1Wall', atLeast: 100 },
  },
  { says: '… a hundred in a pipeline', loop: 'getString', of: 'redisPipelined', by: 'ours1Wall', atLeast: 30 },
]

export function floorRows(measured: Measured[]): string {
  return floors.map((floor) => row(measured, floor)).join('\n')
}

function row(measured: Measured[], { says, loop, size = 100, of, by = 'ours1', atLeast, atMost }: Floor): string {
  const { timings } = measured.find((one) => one.ours === loop && one.size === size)!
  const all = ratios(timings[of]!, timings[by]!)
  const middle = median(all)
  const digits = middle < 20 ? 2 : 0
  const isKept = atLeast !== undefined ? middle >= atLeast : middle <= atMost!
  const bound = atLeast !== undefined ? `at least ${atLeast}` : `at most ${atMost}`
  const between = `${low(all).toFixed(digits)} to ${high(all).toFixed(digits)}`
  return `| ${says} | ${bound} | ${middle.toFixed(digits)} | ${between} | ${isKept ? 'kept' : '**not kept**'} |`
}
