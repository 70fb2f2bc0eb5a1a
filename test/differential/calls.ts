// What both sides are asked: the ways to configure a cache, and for each of them a random
// list of calls that a seed decides.
//
// Keys and values are Latin-1 strings, one character a byte, and counters' operands are
// decimal: so that Python and JavaScript read the same from JSON.

/** `expiry` seconds as the last word of those that store. `nowhere` asks a cache that there is not; `mark` tells the time. */
export type Call =
  | ['get' | 'exists' | 'num' | 'del' | 'nowhere', key: string]
  | ['set' | 'update', key: string, value: string, expiry: number]
  | ['inc' | 'dec' | 'mul' | 'div', key: string, n: string, expiry: number]
  | ['keys' | 'clear' | 'mark']
  | ['wait', ms: number]

export interface Mode {
  name: string
  /** Keys of --cache2 beside the name, for both. */
  keys: string
  /** `items` on either side: uWSGI's N holds N-1, and where that decides who is evicted it gets one more. */
  items: [uwsgi: number, ours: number]
  blocksize: number
  /** Of how many keys it is spoken. */
  pool: number
  /** How often which call, in parts. */
  mix: Partial<Record<Call[0] | 'odd', number>>
  /** Kept in a file, of each one's own. */
  isStored?: boolean
  /** What follows the random calls. */
  end?: 'expiry' | 'sweep' | 'modified' | 'crowd'
}

const everything: Mode['mix'] = {
  ...{ get: 30, exists: 8, num: 8, set: 20, update: 12, del: 12, keys: 0.2, clear: 0.05, nowhere: 0.2, odd: 1 },
  ...{ inc: 6, dec: 3, mul: 2, div: 2 },
}
/** Nothing whose difference would leave another order of use behind. */
const ordered: Mode['mix'] = { ...everything, odd: 0, div: 0 }

const small = { items: [48, 48] as [number, number], blocksize: 40, pool: 64, mix: everything }
const evicting = { items: [33, 32] as [number, number], blocksize: 40, pool: 64, mix: ordered }

/** One more way is one more row. */
export const modes: Mode[] = [
  { ...small, name: 'plain', keys: 'keysize=16', end: 'expiry' },
  { ...small, name: 'djb33x', keys: 'hash=djb33x,hashsize=16' },
  { ...small, name: 'murmur2', keys: 'hash=murmur2,hashsize=16' },
  { ...small, name: 'odd-hashsize', keys: 'hash=djb33x,hashsize=1000' },
  { ...small, name: 'small-blocks', keys: 'hash=djb33x,hashsize=64', blocksize: 4 },
  { ...small, name: 'no_expire', keys: 'no_expire=1', end: 'expiry' },
  { ...small, name: 'lazy_expire', keys: 'lazy_expire=1', end: 'expiry' },
  { ...small, name: 'lastmod', keys: 'lastmod=1', end: 'modified' },
  { ...small, name: 'math', keys: 'math_initial=-7', mix: { ...everything, inc: 60, dec: 30, mul: 40, div: 40 } },
  { ...evicting, name: 'purge_lru', keys: 'purge_lru=1', end: 'expiry' },
  { ...evicting, name: 'purge_lru-djb33x', keys: 'purge_lru=1,hash=djb33x,hashsize=4' },
  { ...evicting, name: 'clear_on_full', keys: 'clear_on_full=1,hash=djb33x,hashsize=16' },
  { ...evicting, name: 'sweep_on_full', keys: 'sweep_on_full=1', end: 'sweep' },
  // Enough blocks for all: uWSGI refuses a value when its own search finds no run, which is ours to do better.
  { ...small, name: 'bitmap', keys: 'bitmap=1,blocks=512,hash=djb33x,hashsize=16', blocksize: 8 },
  { ...small, name: 'store', keys: 'hash=djb33x,hashsize=16', isStored: true },
  { ...small, name: 'crowded', keys: 'hash=murmur2,hashsize=64', items: [3000, 3000], end: 'crowd' },
]

/** A list that `seed` decides, of about `count` calls. */
export function callsOf(mode: Mode, seed: number, count: number): Call[] {
  const dice = new Dice(seed)
  const calls: Call[] = [['clear']]
  const mixed = Object.entries(mode.mix) as [Call[0] | 'odd', number][]
  const whole = mixed.reduce((sum, [, part]) => sum + part, 0)
  while (calls.length < count) {
    let at = dice.next() * whole
    const [op] = mixed.find(([, part]) => (at -= part) < 0)!
    calls.push(...some(op, mode, dice))
  }
  if (mode.end !== undefined) calls.push(...ends[mode.end](mode))
  calls.push(['keys'])
  return calls
}

function some(op: Call[0] | 'odd', mode: Mode, dice: Dice): Call[] {
  const key = keyOf(dice.below(mode.pool))
  switch (op) {
    case 'odd':
      return odd(key, mode, dice)
    case 'set':
    case 'update':
      return [[op, key, value(mode, dice), dice.below(3) === 0 ? 10000 : 0]]
    case 'inc':
    case 'dec':
    case 'mul':
    case 'div': {
      // -1 would kill uWSGI where the counter is -2^63.
      const n = dice.below(8) === 0 ? (1n << 62n) + BigInt(dice.below(1000)) : BigInt(dice.below(40) - 20)
      return [
        [op, key, `${op === 'div' && n === -1n ? 3n : n}`, dice.below(3) === 0 ? 10000 : 0],
        // Right after it: what uWSGI makes of a value that is no counter is then known.
        ['get', key],
      ]
    }
    case 'keys':
    case 'clear':
      return [[op]]
    case 'get':
    case 'exists':
    case 'num':
    case 'del':
    case 'nowhere':
      return [[op, key]]
    case 'mark':
    case 'wait':
      return [] // at the end only
  }
}

/** What should not be asked. */
function odd(key: string, mode: Mode, dice: Dice): Call[] {
  const endless = key + 'x'.repeat(65536)
  switch (dice.below(6)) {
    case 0:
      return [[dice.below(2) === 0 ? 'set' : 'update', key, '', 0]]
    case 1:
      return [
        ['set', '', 'v', 0],
        ['get', ''],
        ['del', ''],
      ]
    case 2:
      // Seldom: such a key is a long line in the list.
      if (dice.below(20) > 0) return [['exists', 'x'.repeat(2049)]]
      return [
        ['update', endless, 'v', 0],
        ['get', endless],
        ['exists', endless],
      ]
    case 3:
      return [
        ['set', 'no time left', 'v', -1],
        ['get', 'no time left'],
        ['del', 'no time left'],
      ]
    case 4:
      return [['update', key, 'x'.repeat(mode.blocksize + 1), 0]]
    default:
      return [['set', 'x'.repeat(2049), 'v', 0]]
  }
}

const math = ['inc', 'dec', 'mul', 'div'] as const
const word = `\x2a${'\0'.repeat(7)}`
const second = 1000
const overAfter = 1.2 * second // for an expiry of 1 second, whatever second it began in
const first = (count: number) => Array.from({ length: count }, (_, n) => keyOf(n))

const ends: Record<NonNullable<Mode['end']>, (mode: Mode) => Call[]> = {
  expiry: () => [
    ['clear'],
    ...first(12).map((key): Call => ['set', key, `of ${key}`, 1]),
    ...math.flatMap((op): Call[] => [
      [op, `${op} makes`, '7', 1],
      ['set', `${op} stays`, word, 0],
      [op, `${op} stays`, '7', 1],
      ['set', `${op} goes`, word, 1],
      [op, `${op} goes`, '7', 10000],
    ]),
    ['wait', overAfter],
    ...math.flatMap((op): Call[] => [
      ['get', `${op} makes`],
      ['get', `${op} stays`],
      ['get', `${op} goes`],
    ]),
    ['keys'],
    ...first(12).flatMap((key, n): Call[] => [
      ['get', key],
      ['exists', key],
      ['num', key],
      [n % 2 ? 'set' : 'update', key, 'new', 0],
    ]),
    ...first(12).flatMap((key): Call[] => [
      ['get', key],
      ['del', key],
      ['get', key],
    ]),
  ],
  sweep: ({ items: [, ours] }) => [
    ['clear'],
    ...first(ours).map((key, n): Call => ['set', key, `of ${key}`, n % 2 ? 1 : 0]),
    ['wait', overAfter],
    ...first(2 * ours).map((key): Call => ['set', key, 'new', 0]),
    ...first(2 * ours).map((key): Call => ['get', key]),
  ],
  modified: () => [
    ['clear'],
    ['update', 'there', 'v', 0],
    ['mark'],
    ['wait', 2.2 * second],
    ['set', 'there', 'refused', 0],
  ],
  crowd: () => {
    // murmur2 overlooks the last bytes, here three of them: one chain.
    const keys = Array.from({ length: 1100 }, (_, n) => `same${n.toString(36).padStart(3, '0')}`)
    const both = [...keys.map((key): Call => ['set', key, 'v', 0]), ...keys.map((key): Call => ['get', key])]
    return [['clear'], ...both, ['clear']]
  },
}

function keyOf(n: number): string {
  return `k${n.toString(36).padStart(2, '0')}`
}

function value(mode: Mode, dice: Dice): string {
  const size = dice.below(4) === 0 ? 8 : 1 + dice.below(mode.blocksize + 1)
  let text = ''
  for (let i = 0; i < size; i++) text += String.fromCharCode(dice.below(256))
  return text
}

/** The same numbers for the same seed, everywhere. */
class Dice {
  #state: number
  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 1) >>> 0
  }
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let x = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
  below(n: number): number {
    return Math.floor(this.next() * n)
  }
}
