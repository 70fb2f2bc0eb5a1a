// What a cache is asked for: keys as popular as Zipf says, now and then a scan of keys
// that never come again, or a loop of others. The same seed gives the same requests everywhere.

import type { Cache } from '../dist/index.js'
import type { Policy } from './policies.ts'

export interface Workload {
  /** How many keys there are, beside those of scans. */
  keys: number
  /** The n-th most popular is asked for n^-skew times as often as the first. */
  skew: number
  requests: number
  scans?: { every: number; length: number }
  /** After `from` requests a part of them goes to other keys, one after the other and again from the first. */
  loop?: { from: number; share: number; length: number }
  seed: number
}

/** Keys from 1 on, the most popular first; then those of the loop, then those of scans. */
export function traceOf({ keys, skew, requests, scans, loop, seed }: Workload): Int32Array {
  const random = randomFrom(seed)
  const upTo = new Float64Array(keys)
  let total = 0
  for (let key = 0; key < keys; key++) {
    total += (key + 1) ** -skew
    upTo[key] = total
  }
  const trace = new Int32Array(requests)
  const period = scans ? scans.every + scans.length : requests
  let fresh = keys + (loop?.length ?? 0)
  let looped = 0
  for (let at = 0; at < requests; at++) {
    if (scans && at % period >= scans.every) trace[at] = ++fresh
    else if (loop && at >= loop.from && random() < loop.share) trace[at] = 1 + keys + (looped++ % loop.length)
    else trace[at] = 1 + firstAbove(upTo, random() * total)
  }
  return trace
}

export function largestOf(trace: Int32Array): number {
  return trace.reduce((largest, key) => (key > largest ? key : largest), 0)
}

/** How many of the requests were hits, from one to another. */
export function hits(policy: Policy, trace: Int32Array, from = 0, to = trace.length, step = 1): number {
  let count = 0
  for (let at = from; at < to; at += step) if (policy(trace[at]!)) count++
  return count
}

/** The engine, asked as an application asks it. */
export function engine(cache: Cache): Policy {
  return (key) => {
    const name = String(key)
    if (cache.getString(name) !== null) return true
    cache.set(name, 'v')
    return false
  }
}

function firstAbove(ascending: Float64Array, value: number): number {
  let [low, high] = [0, ascending.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (ascending[middle]! > value) high = middle
    else low = middle + 1
  }
  return low
}

/** From 0 to 1; the generator is mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
