// Makes a list of calls on a cache of ours, beside what uWSGI answered to the same list,
// and names the row of docs/differences.md for each answer that differs. After each, our
// cache is made to hold what uWSGI's holds, so that one difference does not become many.

import { setTimeout } from 'node:timers/promises'
import type { Cache } from '../../dist/cache/cache.js'
import type { Call, Mode } from './calls.ts'
import { type Answer, type Divergence, type Held, lasting, type Row, rows } from './rows.ts'

export interface Comparison {
  calls: number
  byRow: Map<Row, number>
  /** The first that no row explains. */
  unexplained: string | null
  /** What only uWSGI counts, because of the differences: hits, misses, refusals for want of room. */
  apart: { hits: number; miss: number; full: number }
  marks: number[]
}

/** Rows of stores that uWSGI may have refused for want of room, and we for another reason or not at all. */
const countsFull = ['`items=N` holds', 'a negative', 'a key of 65539']

export async function compare(
  mode: Mode,
  calls: Call[],
  results: Answer[],
  cache: Cache,
  nowhere: () => unknown,
): Promise<Comparison> {
  const held = new Map<string, Held>()
  const found: Comparison = {
    calls: calls.length,
    byRow: new Map(),
    unexplained: null,
    apart: { hits: 0, miss: 0, full: 0 },
    marks: [],
  }
  for (const [i, call] of calls.entries()) {
    if (call[0] === 'wait') {
      await setTimeout(call[1])
      // Whatever has a second to live is set right before a wait.
      for (const item of held.values()) item.expired ||= item.mortal
      continue
    }
    if (call[0] === 'mark') {
      found.marks.push(Number(String(results[i]).slice(1)), Math.floor(Date.now() / 1000))
      continue
    }
    const theirs = results[i]!
    const ours = make(call, cache, nowhere)
    const it = { call, theirs, ours, mode, cache, held }
    if (call[0] === 'get' || call[0] === 'num') countRead(it, found.apart)
    // There it is the want of room that refuses a division by 0, here the division.
    if (call[0] === 'div' && theirs === null && cache.refusal === 'DIVISION') found.apart.full++
    if (!isSame(theirs, ours)) {
      const row = rows.find(({ explains }) => explains(it))
      if (row === undefined) {
        found.unexplained = `call ${i}, ${JSON.stringify(call).slice(0, 200)}: uWSGI ${told(theirs)}, we ${told(ours)} (${cache.refusal})`
        return found
      }
      const stores = !['get', 'exists', 'num', 'del'].includes(call[0])
      if (stores && theirs === null && countsFull.some((one) => row.says.startsWith(one))) found.apart.full++
      learn(call, theirs, held)
      row.align?.(it)
      found.byRow.set(row, (found.byRow.get(row) ?? 0) + 1)
    } else learn(call, theirs, held)
  }
  return found
}

function make(call: Call, cache: Cache, nowhere: () => unknown): Answer {
  const [op, key] = call
  const name = typeof key === 'string' ? Buffer.from(key, 'latin1') : ''
  try {
    switch (op) {
      case 'get': {
        const value = cache.get(name)
        return value === null ? null : `b${value.toString('latin1')}`
      }
      case 'num':
      case 'inc':
      case 'dec':
      case 'mul':
      case 'div': {
        const number = op === 'num' ? cache.bigNum(name) : cache[op](name, BigInt(call[2]!), call[3])
        return number === null ? null : `i${number}`
      }
      case 'set':
      case 'update':
        return cache[op](name, Buffer.from(call[2], 'latin1'), call[3])
      case 'keys':
        return cache.keys('buffer').map((found) => found.toString('latin1'))
      case 'clear':
        return cache.clear() >= 0
      case 'exists':
      case 'del':
        return cache[op](name)
      case 'nowhere':
        return nowhere() as Answer
      case 'mark':
      case 'wait':
        return null // of which nothing comes back
    }
  } catch (error) {
    const { code, name: kind } = error as { code?: string; name: string }
    return `e${code ?? kind}`
  }
}

function isSame(theirs: Answer, ours: Answer): boolean {
  if (!Array.isArray(theirs)) return theirs === ours
  return Array.isArray(ours) && theirs.length === ours.length && theirs.every((key, i) => key === ours[i])
}

function countRead({ call: [op, key], theirs, ours, held }: Divergence, apart: Comparison['apart']): void {
  const name = String(key)
  if (name === '' || name.length > 2048) {
    // Here such a key is no question.
    if (theirs === null) apart.miss++
    else apart.hits++
    return
  }
  // Of a number, uWSGI's 0 may be either.
  const isHit = op === 'get' ? theirs !== null : held.get(name)?.expired === true
  if (!isHit || ours !== null) return
  apart.hits++
  apart.miss--
}

/** What uWSGI's answer says of what it holds. */
function learn(call: Call, theirs: Answer, held: Map<string, Held>): void {
  const [op, key] = call
  if (op === 'clear') return held.clear()
  if (typeof key !== 'string') return
  const item = held.get(key)
  if (op === 'get') {
    if (theirs === null) held.delete(key)
    else if (item !== undefined) held.set(key, { ...item, value: String(theirs).slice(1), unread: false })
  } else if (theirs === true) {
    if (op === 'del') held.delete(key)
    else if (op === 'set' || op === 'update')
      held.set(key, { value: call[2], mortal: call[3] === 1, expired: call[3] < 0 })
    else if (op !== 'exists' && item === undefined) held.set(key, { ...lasting(''), mortal: call[3] === 1 })
  }
}

function told(answer: Answer): string {
  return JSON.stringify(answer)?.slice(0, 300) ?? 'nothing'
}
