// Which row of docs/differences.md explains that uWSGI answered otherwise than we did,
// and what then makes our cache hold again what uWSGI's holds.
//
// Rows are tried in this order. Where two could be meant, the one that knows more comes first.

import type { Cache } from '../../dist/cache/cache.js'
import type { Call, Mode } from './calls.ts'

/** As uwsgi.py tells them: null, true, b… bytes, i… a number, a list of keys; of ours also false, and e… what was thrown. */
export type Answer = null | boolean | string | string[] | number

/** What uWSGI's cache holds, as far as its answers have told. */
export interface Held {
  value: string
  /** Its time is over with the next wait, or is over. */
  mortal: boolean
  expired: boolean
  /** Our chain would take no more. */
  crowded?: boolean
  /** Counting made something of it that only the next read tells. */
  unread?: boolean
}

export interface Divergence {
  call: Call
  theirs: Answer
  ours: Answer
  mode: Mode
  cache: Cache
  held: Map<string, Held>
}

export interface Row {
  /** How the row's first cell begins. */
  says: string
  explains(divergence: Divergence): boolean
  align?(divergence: Divergence): void
}

const counting = ['inc', 'dec', 'mul', 'div']
const storing = ['set', 'update', ...counting]
const bytes = (text: string) => Buffer.from(text, 'latin1')
const keyOf = ({ call: [, key] }: Divergence) => String(key)
const heldOf = (divergence: Divergence) => divergence.held.get(keyOf(divergence))
const isRefused = (ours: Answer) => ours === false || ours === null

export function lasting(value: string): Held {
  return { value, mortal: false, expired: false }
}

/** Ours holds what uWSGI's does, which may be nothing. */
function restore(divergence: Divergence, key = keyOf(divergence)): void {
  const { cache, held } = divergence
  const was = held.get(key)
  if (was === undefined || was.expired) cache.del(bytes(key))
  else cache.update(bytes(key), bytes(was.value))
}

export const rows: Row[] = [
  {
    says: 'an unknown cache, or none at all, is a silent miss',
    explains: ({ call: [op], theirs, ours }) => op === 'nowhere' && theirs === null && ours === 'eUNKNOWN_CACHE',
  },
  {
    says: 'a key of 65539 bytes counts as its first 3',
    explains: (it) => keyOf(it).length > 65536 && isRefused(it.ours),
    align(it) {
      const { theirs, cache, call } = it
      const [op, key, value] = call
      const short = keyOf(it).slice(0, String(key).length - 65536)
      if (op !== 'update' || theirs !== true) return
      cache.update(bytes(short), bytes(String(value)))
      it.held.set(short, lasting(String(value)))
    },
  },
  {
    says: 'a negative time to live is one that is over',
    explains: ({ call, ours }) => call[0] === 'set' && call[3] < 0 && ours === 'eRangeError',
  },
  {
    says: 'an empty value is refused',
    explains: ({ call, theirs, ours }) => call[2] === '' && theirs === null && ours === true,
    align: restore,
  },
  {
    says: 'a chain may be as long as there are items',
    explains: (it) => {
      const { call, theirs, ours, cache } = it
      if (call[0] === 'set') return theirs === true && ours === false && cache.refusal === 'CROWDED'
      return call[0] === 'get' && heldOf(it)?.crowded === true
    },
    align: (it) => {
      heldOf(it)!.crowded = true
    },
  },
  {
    says: '`purge_lru` turns expiry off',
    explains: (it) => it.mode.keys.includes('purge_lru') && isOver(it),
    align: restore,
  },
  {
    says: '`lazy_expire`: expired items go when they are touched',
    // Its list of keys still has them.
    explains: (it) => it.mode.keys.includes('lazy_expire') && it.call[0] === 'keys' && isOver(it),
  },
  {
    says: 'an item that has expired can be read until the sweeper comes',
    explains: (it) => isOver(it),
    align: restore,
  },
  {
    says: 'a division by 0 stores 0',
    explains: ({ call, theirs, cache }) =>
      call[0] === 'div' && call[2] === '0' && theirs === true && cache.refusal === 'DIVISION',
    align: ({ call, cache, held }) => {
      cache.update(bytes(String(call[1])), Buffer.alloc(8))
      held.set(String(call[1]), lasting('\0'.repeat(8)))
    },
  },
  {
    says: 'counting on an item that is no counter cuts or extends it to 8 bytes',
    explains: (it) => {
      const { call, theirs, ours, cache } = it
      if (counting.includes(call[0])) return theirs === true && ours === null && cache.refusal === 'NOT_A_NUMBER'
      return call[0] === 'get' && heldOf(it)?.unread === true && String(theirs).length === 9
    },
    align: (it) => {
      const item = heldOf(it)!
      if (it.call[0] === 'get') it.cache.update(bytes(keyOf(it)), bytes(String(it.theirs).slice(1)))
      else item.unread = true
    },
  },
  {
    says: '`bitmap`: counting forgets what was counted before',
    explains: (it) => {
      const { call, theirs, ours, mode } = it
      if (!mode.keys.includes('bitmap') || heldOf(it) === undefined) return false
      if (counting.includes(call[0])) return theirs === true && String(ours).startsWith('i')
      return call[0] === 'get' && heldOf(it)?.unread === true && String(theirs).length === 9
    },
    align: (it) => {
      if (it.call[0] === 'get') it.cache.update(bytes(keyOf(it)), bytes(String(it.theirs).slice(1)))
      else heldOf(it)!.unread = true
    },
  },
  {
    says: '`items=N` holds N-1',
    explains: ({ call, theirs, ours, mode, cache }) =>
      storing.includes(call[0]) && theirs === null && !isRefused(ours) && cache.size === mode.items[1],
    align: restore,
  },
  {
    says: '`cache_num` gives 0 for an absent item and for one that is no counter',
    explains: ({ call, theirs, ours }) => call[0] === 'num' && theirs === 'i0' && ours === null,
  },
  {
    says: '`cache_inc`, `cache_dec`, `cache_mul` and `cache_div` return True',
    explains: ({ call, theirs, ours }) => counting.includes(call[0]) && theirs === true && String(ours).startsWith('i'),
  },
  {
    says: '`cache_exists`, `cache_del`, `cache_set`, `cache_update` give None when not',
    explains: ({ theirs, ours }) => theirs === null && ours === false,
  },
  {
    says: 'the hash is `djb33x`, whose chains anybody can choose',
    explains: (it) => !it.mode.keys.includes('hash=') && isAnotherOrder(it),
  },
  {
    says: '`hashsize` is any number',
    explains: (it) => it.mode.name === 'odd-hashsize' && isAnotherOrder(it),
  },
]

/** uWSGI still has something whose time is over. */
function isOver(it: Divergence): boolean {
  const { call, theirs, ours, held } = it
  const isHeld = heldOf(it)?.expired === true
  if (call[0] === 'get' || call[0] === 'exists') return isHeld && theirs !== null && isRefused(ours)
  if (call[0] === 'set') return isHeld && theirs === null && ours === true
  if (call[0] === 'del') return isHeld && theirs === true && ours === false
  if (call[0] !== 'keys') return false
  const known = new Set(ours as string[])
  const more = (theirs as string[]).filter((key) => !known.has(key))
  return (
    more.length > 0 &&
    more.length + known.size === (theirs as string[]).length &&
    more.every((key) => held.get(key)?.expired)
  )
}

function isAnotherOrder({ call, theirs, ours }: Divergence): boolean {
  const sorted = (keys: Answer) => [...(keys as string[])].sort().join()
  return call[0] === 'keys' && sorted(theirs) === sorted(ours)
}
