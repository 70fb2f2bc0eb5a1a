// User locks as the application holds them: `uwsgi.lock(n)`, `uwsgi.namedLock('billing')`.
//
// There are two kinds of owners. A thread takes a lock by `lock` or `tryLock`,
// and lets go by `unlock`: that is uWSGI's way, and it blocks the event loop.
// A `Hold` is an owner by itself: `lockAsync` and `withLock` give one to each
// caller, so that two requests of one process exclude each other too.
//
// Native code waits, notices deaths and finds circles of waits. For those it has to know
// which holds a wait keeps from ending. Inside of `withLock` that is known: the
// function's asynchronous context names the hold that it runs under.

import { AsyncLocalStorage } from 'node:async_hooks'
import { UwsgiError } from '../errors.ts'
import { join } from '../instance.ts'
import { native } from '../native.ts'
import { borrowLocks, release, take } from './lent.ts'
import { giveUp, listen, onOutcome } from './outcomes.ts'

export interface LockOptions {
  /** Milliseconds to wait at most; 0 does not wait. Without it, for ever. */
  timeout?: number | undefined
}

export interface AsyncLockOptions extends LockOptions {
  /** Ends the wait: the promise rejects with its reason. */
  signal?: AbortSignal | undefined
}

export interface NamedLockOptions {
  /** First come, first served. Every process must say the same. Without it a lock that is free goes to whoever is there first: faster. */
  fair?: boolean
  /** Its owner may take it again, and lets go as many times. */
  recursive?: boolean
}

/** Which native lock, and how it is used here. */
interface Door {
  index: number
  name: string
  isShared: boolean
  isRecursive: boolean
}

/** One asynchronous owner, and how many holds count on it. */
interface Grant {
  door: Door
  token: number
  depth: number
}

/** The hold a function of `withLock` runs under, and those around it. */
interface Scope {
  grant: Grant
  outer: Scope | undefined
}

const scopes = new AsyncLocalStorage<Scope>()

/** A lock that is held, until `release`; `await using hold = await lock.lockAsync()` releases it on every path. */
export class Hold {
  /** The previous owner died while it held the lock: what the lock protects may be half done. */
  readonly previousOwnerDied: boolean
  readonly #grant: Grant
  #isOver = false

  /** Made by `lockAsync` and `withLock`. */
  constructor(grant: Grant) {
    this.#grant = grant
    this.previousOwnerDied = native.lockInherited(grant.door.index, grant.token)
  }

  /** Lets go; false when that was done before. */
  release(): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    const { door, token } = this.#grant
    return --this.#grant.depth > 0 || native.lockEnd(door.index, token, door.isShared)
  }

  [Symbol.dispose](): void {
    this.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release()
  }
}

/** A user lock. The owner of `lock` and `tryLock` is the calling thread; each `lockAsync` and `withLock` is an owner of its own. */
export class UserLock {
  readonly #door: Door

  /** Made by `uwsgi.namedLock`, `uwsgi.rwLock`. */
  constructor(door: Door) {
    this.#door = door
  }

  get name(): string {
    return this.#door.name
  }

  /**
   * Takes the lock; false when the time is over. **Blocks the event loop** while it waits: for short holds only, else `lockAsync`.
   * A lock that a request took and did not unlock stays with this thread.
   * @throws UwsgiError LOCK_HELD (this thread has it), DEADLOCK, LOCK_WAITERS.
   */
  lock(options?: LockOptions): boolean {
    if (options === undefined && !this.#door.isShared && take(this.#door.index)) return true
    const { index, isShared, isRecursive } = this.#door
    const timeout = timeoutOf(options)
    return isShared ? native.lockShare(index, timeout) : native.lockWait(index, timeout, isRecursive)
  }

  /** Takes the lock if it is free; false when it is not, also when this thread has it. */
  tryLock(): boolean {
    const { index, isShared, isRecursive } = this.#door
    if (!isShared) return take(index) || native.lockTry(index, isRecursive)
    try {
      return native.lockShare(index, 0)
    } catch (error) {
      if (error instanceof UwsgiError && error.code === 'LOCK_HELD') return false
      throw error
    }
  }

  /**
   * Lets go of what this thread took by `lock` or `tryLock`.
   * @throws UwsgiError LOCK_NOT_OWNER: somebody else has it, or nobody.
   */
  unlock(): void {
    if (this.#door.isShared) native.lockUnshare(this.#door.index)
    else if (!release(this.#door.index)) native.lockRelease(this.#door.index)
  }

  /** Does anybody alive have it, in whatever way? */
  isLocked(): boolean {
    return native.lockHeld(this.#door.index)
  }

  /** This thread has the lock, and its previous owner died with it: what the lock protects may be half done. */
  get previousOwnerDied(): boolean {
    return native.lockInherited(this.#door.index, 0)
  }

  /**
   * Takes the lock without blocking the event loop.
   * @returns a hold to be released; null when the time is over.
   * @throws (rejects) the signal's reason; UwsgiError LOCK_HELD (called inside of `withLock` of the same lock), DEADLOCK, LOCK_WAITERS.
   */
  async lockAsync(options?: AsyncLockOptions): Promise<Hold | null> {
    const grant = await begin(this.#door, options)
    return grant && new Hold(grant)
  }

  /**
   * Runs `work` while the lock is held, and releases it however that ends. The hold tells whether the previous owner died.
   * @throws (rejects) as lockAsync; UwsgiError LOCK_TIMEOUT; whatever `work` throws.
   */
  async withLock<T>(work: (hold: Hold) => T | Promise<T>, options?: AsyncLockOptions): Promise<T> {
    const grant = await begin(this.#door, options)
    if (grant === null) throw new UwsgiError('LOCK_TIMEOUT', this.name, options?.timeout)
    const hold = new Hold(grant)
    try {
      return await scopes.run({ grant, outer: scopes.getStore() }, work, hold)
    } finally {
      hold.release()
    }
  }
}

/** Many readers or one writer. Nobody overtakes a writer that waits. */
export interface RwLock {
  readonly read: UserLock
  readonly write: UserLock
}

async function begin(door: Door, options: AsyncLockOptions | undefined): Promise<Grant | null> {
  const timeout = timeoutOf(options)
  const signal = options?.signal
  signal?.throwIfAborted()
  const scope = scopes.getStore()
  const own = grantIn(scope, door)
  if (own !== undefined) {
    if (!door.isRecursive) throw new UwsgiError('LOCK_HELD', door.name)
    own.depth++
    return own
  }
  listen()
  const token = native.lockBegin(door.index, door.isShared, timeout, scope?.grant.token ?? 0)
  const grant = { door, token: Math.abs(token), depth: 1 }
  if (token >= 0) return token === 0 ? null : grant

  return new Promise((resolve, reject) => {
    const abort = () => {
      // Not in time: it has the lock already, or never will; the outcome, which then comes, sees to that.
      giveUp(grant.token)
      reject(signal!.reason as Error)
    }
    signal?.addEventListener('abort', abort, { once: true })
    onOutcome(grant.token, (outcome) => {
      signal?.removeEventListener('abort', abort)
      if (signal?.aborted) {
        if (outcome === 1) native.lockEnd(door.index, grant.token, door.isShared)
      } else if (outcome === 2) reject(new UwsgiError('DEADLOCK', door.name))
      else resolve(outcome === 1 ? grant : null)
    })
  })
}

/** The grant of that lock under which we run, if any. */
function grantIn(scope: Scope | undefined, { index, isShared }: Door): Grant | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    const { door, depth } = at.grant
    // A reader may read once more.
    if (door.index === index && depth > 0 && !(door.isShared && isShared)) return at.grant
  }
  return undefined
}

function timeoutOf(options: LockOptions | undefined): number {
  const timeout = options?.timeout
  if (timeout === undefined || timeout === Infinity) return -1
  if (typeof timeout === 'number' && timeout >= 0) return timeout
  throw new TypeError(`timeout: ${String(timeout)} is no number of milliseconds from 0 on`)
}

const kinds = { plain: 0, fair: 1, readWrite: 2 }

/** User locks 0 to N; empty until this thread has asked for one. */
const numbered: UserLock[] = []

function attach(): void {
  join()
  if (numbered.length === 0) borrowLocks()
  for (let n = numbered.length; n < native.lockCount(); n++)
    numbered.push(new UserLock({ index: n, name: `user ${n}`, isShared: false, isRecursive: false }))
}

function isNumber(n: number): boolean {
  return Number.isInteger(n) && n >= 0 && n < numbered.length
}

/** User lock n. */
function numberedLock(n: number): UserLock {
  if (!Number.isInteger(n)) throw new TypeError(`a lock is a whole number, not ${String(n)}`)
  if (numbered.length === 0) attach()
  const lock = numbered[n]
  if (lock === undefined) throw new UwsgiError('LOCK_NUMBER', n, numbered.length - 1)
  return lock
}

/** The names this thread has looked up in shared memory, once each. */
const named = new Map<string, Omit<Door, 'isShared' | 'isRecursive'>>()

function doorOf(name: string, kind: keyof typeof kinds): Omit<Door, 'isShared' | 'isRecursive'> {
  if (typeof name !== 'string') throw new TypeError(`the name of a lock is a string, not ${String(name)}`)
  const key = `${kind} ${name}`
  let door = named.get(key)
  if (door === undefined) {
    attach()
    if (name === '' || name.includes('\0') || Buffer.byteLength(name) > 127)
      throw new UwsgiError('LOCK_NAME', `'${name}'`)
    door = { index: native.lockNamed(name, kinds[kind]), name: `user ${name}` }
    named.set(key, door)
  }
  return door
}

/** The part of the `uwsgi` object that is about locks. */
export const userLocks = {
  /**
   * Takes user lock n, as uWSGI's `lock`; false when the time is over. **Blocks the event loop** while it waits: for short holds
   * only, else `lockAsync`. The lock belongs to this thread, whatever request took it, until `unlock` or the end of the process.
   * @throws UwsgiError LOCK_NUMBER, LOCK_HELD (this thread has it), DEADLOCK, LOCK_WAITERS, NOT_ATTACHED; TypeError.
   */
  lock(n = 0, options?: LockOptions): boolean {
    return (options === undefined && isNumber(n) && take(n)) || numberedLock(n).lock(options)
  },

  /** Takes user lock n if it is free; false when it is not. */
  tryLock(n = 0): boolean {
    return numberedLock(n).tryLock()
  },

  /**
   * Lets go of user lock n, which this thread took by `lock` or `tryLock`.
   * @throws UwsgiError LOCK_NOT_OWNER: somebody else has it, or nobody. (uWSGI says nothing, and breaks the lock.)
   */
  unlock(n = 0): void {
    if (!isNumber(n) || !release(n)) numberedLock(n).unlock()
  },

  /** Does anybody alive hold user lock n? */
  isLocked(n = 0): boolean {
    return numberedLock(n).isLocked()
  },

  /** This thread holds user lock n, and its previous owner died with it: what the lock protects may be half done. */
  previousOwnerDied(n = 0): boolean {
    return numberedLock(n).previousOwnerDied
  },

  /** Takes user lock n without blocking the event loop; see `UserLock.lockAsync`. */
  async lockAsync(n = 0, options?: AsyncLockOptions): Promise<Hold | null> {
    return await numberedLock(n).lockAsync(options)
  },

  /** Runs `work` while user lock n is held; see `UserLock.withLock`. */
  async withLock<T>(n: number, work: (hold: Hold) => T | Promise<T>, options?: AsyncLockOptions): Promise<T> {
    return await numberedLock(n).withLock(work, options)
  },

  /**
   * A lock with a name, the same in all processes; it is made when it is first asked for, and stays. Up to `--locks-max`.
   * @throws UwsgiError LOCK_NAME, LOCK_KIND (made with another `fair`), LOCKS_FULL, NOT_ATTACHED.
   */
  namedLock(name: string, { fair = false, recursive = false }: NamedLockOptions = {}): UserLock {
    return new UserLock({ ...doorOf(name, fair ? 'fair' : 'plain'), isShared: false, isRecursive: recursive })
  },

  /**
   * A lock for many readers or one writer: `rwLock('prices').read` and `.write` are used like other locks.
   * @throws UwsgiError as namedLock.
   */
  rwLock(name: string): RwLock {
    const door = { ...doorOf(name, 'readWrite'), isRecursive: false }
    return { read: new UserLock({ ...door, isShared: true }), write: new UserLock({ ...door, isShared: false }) }
  },
}
