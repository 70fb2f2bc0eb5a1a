// getOrCompute: what is absent is computed once, whoever asks, in whichever process.
//
// The callers of one process join one *flight*. A flight finds the value, or takes
// the lease of the key and computes, or waits until the lease of another process ends and
// begins again. A lease ends with its computation or with its process, never by a clock: of
// a process that is stopped nobody knows whether it will store something yet.
//
// When a process dies in `compute` the value is absent and its lease over: one of those who
// wait computes. When it dies after the store, they find the value.

import { AsyncLocalStorage } from 'node:async_hooks'
import { UwsgiError } from '../errors.ts'
import { giveUp, listen, onOutcome } from '../locks/outcomes.ts'
import { native } from '../native.ts'

type Bytes = string | Uint8Array

export interface ComputeOptions {
  /** Seconds that the value is good for; 0, the default, is for ever. */
  ttl?: number
  /** Seconds beyond `ttl` during which others are served the old value while one computes. Every caller must say the same. */
  stale?: number
  /** What to get; 'text' by default. */
  as?: 'text' | 'buffer'
  /** Milliseconds to wait at most; without it, for ever. A computation that has begun goes on, and stores its value. */
  timeout?: number
  /** Ends this caller's wait, as `timeout` does: rejects with its reason. */
  signal?: AbortSignal
}

/** What is needed of a cache. */
interface Store {
  readonly name: string
  readonly get: (key: Bytes) => Buffer | null
  readonly getString: (key: Bytes) => string | null
  readonly exists: (key: Bytes) => boolean
  readonly ttl: (key: Bytes) => number | null
  readonly update: (key: Bytes, value: Bytes, seconds?: number) => boolean
}

/** The flights that run within a computation, and those around it. */
interface Scope {
  flight: Flight
  outer: Scope | undefined
}

const flights = new Map<string, Flight>() // by cache and key
const scopes = new AsyncLocalStorage<Scope>()

interface About {
  id: string
  store: Store
  index: number
  key: Buffer
  options: ComputeOptions
}

class Flight {
  readonly result: Promise<Bytes>
  /** Those that our computation waits for. */
  readonly waitsFor = new Set<Flight>()
  /** Callers that have not given up. */
  callers = 0
  #awaited = 0 // the token of another process's lease
  #leave: (() => void) | undefined

  readonly #about: About

  constructor(about: About, compute: () => Bytes | Promise<Bytes>) {
    this.#about = about
    flights.set(about.id, this)
    this.result = this.#fly(compute).finally(() => this.#land())
  }

  /** One caller less; with the last one goes the wait for others. */
  leave(): void {
    if (--this.callers > 0 || this.#awaited === 0 || !giveUp(this.#awaited)) return
    this.#land()
    this.#leave!()
  }

  reaches(other: Flight): boolean {
    return this === other || [...this.waitsFor].some((next) => next.reaches(other))
  }

  /** Whoever comes now begins another one. */
  #land(): void {
    if (flights.get(this.#about.id) === this) flights.delete(this.#about.id)
  }

  async #fly(compute: () => Bytes | Promise<Bytes>): Promise<Bytes> {
    const { store, index, key, options } = this.#about
    const { ttl = 0, stale = 0 } = options
    // Whoever asks for this has counted a miss.
    const again = () => (store.exists(key) ? fresh(store, key, stale, 'buffer') : null)
    listen()
    for (;;) {
      const token = native.leaseTake(index, key)
      if (token > 0)
        try {
          // Somebody may have been done just before.
          const there = again()
          if (there !== null) return there
          const value = await scopes.run({ flight: this, outer: scopes.getStore() }, compute)
          if (typeof value !== 'string' && !(value instanceof Uint8Array))
            throw new TypeError(`what is computed for a cache is a string or a Uint8Array, not ${typeof value}`)
          store.update(key, value, ttl === 0 ? 0 : ttl + stale)
          return value
        } finally {
          native.leaseEnd(token)
        }
      const old = stale > 0 ? store.get(key) : null
      if (old !== null) {
        if (!giveUp(-token)) onOutcome(-token, () => {})
        return old
      }
      if (!(await this.#over(-token))) return '' // nobody asks any more
      const there = again()
      if (there !== null) return there
    }
  }

  /** Waits for the end of another process's lease. False: all callers have left. */
  #over(token: number): Promise<boolean> {
    return new Promise((resolve) => {
      this.#awaited = token
      const settle = (isOver: boolean) => {
        this.#awaited = 0
        resolve(isOver)
      }
      this.#leave = () => settle(false)
      onOutcome(token, () => settle(true))
    })
  }
}

export async function getOrCompute(
  store: Store,
  index: number,
  key: Bytes,
  options: ComputeOptions,
  compute: () => Bytes | Promise<Bytes>,
): Promise<string | Buffer> {
  for (const what of ['ttl', 'stale', 'timeout'] as const) duration(what, options[what])
  const { stale = 0, as = 'text' } = options
  options.signal?.throwIfAborted()
  const found = fresh(store, key, stale, as)
  if (found !== null) return found

  const bytes = Buffer.from(key as string)
  const id = `${index} ${bytes.toString('latin1')}`
  let flight = flights.get(id)
  if (flight !== undefined && stale > 0) {
    const old = store.get(bytes)
    if (old !== null) return shaped(old, as)
  }
  const scope = scopes.getStore()
  for (let at = scope; at !== undefined; at = at.outer)
    if (flight?.reaches(at.flight)) throw new UwsgiError('COMPUTE_CIRCLE', store.name, bytes.toString())
  flight ??= new Flight({ id, store, index, key: bytes, options }, compute)
  scope?.flight.waitsFor.add(flight)
  try {
    return shaped(await landing(flight, store, bytes, options), as)
  } finally {
    scope?.flight.waitsFor.delete(flight)
  }
}

/** The flight's result, unless this caller gives up before. */
function landing(flight: Flight, { name }: Store, key: Buffer, { timeout, signal }: ComputeOptions): Promise<Bytes> {
  flight.callers++
  if (timeout === undefined && signal === undefined) return flight.result
  return new Promise((resolve, reject) => {
    const give = (reason: Error) => {
      clear()
      reject(reason)
      flight.leave()
    }
    const abort = () => give(signal!.reason as Error)
    const late = () => give(new UwsgiError('COMPUTE_TIMEOUT', name, key.toString(), timeout))
    // Beyond what a timer can count is for ever.
    const timer = timeout === undefined || timeout > 2 ** 31 - 1 ? undefined : setTimeout(late, timeout)
    const clear = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
    signal?.addEventListener('abort', abort, { once: true })
    flight.result.finally(clear).then(resolve, reject)
  })
}

/** The value, unless it is absent or only good for those who take a stale one. */
function fresh(store: Store, key: Bytes, stale: number, as: 'text' | 'buffer'): string | Buffer | null {
  if (stale > 0 && (store.ttl(key) ?? 0) <= stale) return null
  return as === 'text' ? store.getString(key) : store.get(key)
}

function shaped(value: Bytes, as: 'text' | 'buffer'): string | Buffer {
  if (as === 'buffer') return Buffer.from(value as string) // of one flight each caller gets its own
  return typeof value === 'string' ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString()
}

function duration(what: string, value: number | undefined): void {
  if (value === undefined || (typeof value === 'number' && value >= 0)) return
  throw new TypeError(`${what}: ${String(value)} is no duration from 0 on`)
}
