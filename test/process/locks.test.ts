// User locks between workers of a real master: every row of what uWSGI does, what
// we do instead, and what its users asked for.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { app, folder, get, type Master, run, type StatsDocument, until } from '../harness.ts'

const locksModule = new URL('../../dist/locks/locks.js', import.meta.url).href

interface Figures {
  wait_us: number
  longest_hold_us: number
}

interface Told {
  result?: unknown
  name?: string
  code?: string
  message?: string
}

/** A master whose workers do what they are told. */
class Workers {
  readonly master: Master
  private readonly path: string

  constructor(t: TestContext, count: number, ...options: string[]) {
    this.path = folder(t)
    const args = ['-p', String(count), '--locks', '2', '--stats', '127.0.0.1:0', ...options, app('locks.mjs')]
    this.master = run(t, args, { env: { LOCKS_FOLDER: this.path } })
  }

  static async start(t: TestContext, count: number, ...options: string[]): Promise<Workers> {
    const workers = new Workers(t, count, ...options)
    await workers.master.serving(count)
    return workers
  }

  get pids(): number[] {
    return this.master.pidsOfReady()
  }

  /** Runs code in the worker of that pid. */
  async ask(pid: number, code: string): Promise<Told> {
    const { body } = await get({ socketPath: `${this.path}/${pid}`, method: 'POST', body: code })
    return JSON.parse(body) as Told
  }

  async result(pid: number, code: string): Promise<unknown> {
    const told = await this.ask(pid, code)
    assert.equal(told.message, undefined)
    return told.result
  }

  /** Until `count` wait for locks, as the worker of that pid sees it. */
  async waiting(pid: number, count = 1): Promise<void> {
    const code = 'return native.lockFigures().reduce((sum, { waiters }) => sum + waiters, 0)'
    await until(`${count} wait`, async () => (await this.result(pid, code)) === count)
  }

  /** Until the statistics say so: they are made anew ten times a second. */
  async showsHolder(lock: string, pid: number): Promise<void> {
    await until(`${lock} is held by ${pid}`, async () => holderIn(await this.master.stats(), lock) === pid)
  }
}

function holderIn({ locks }: StatsDocument, lock: string): number | undefined {
  return locks.find((row) => lock in row)?.[lock]
}

test('numbers: 0 to N exist, others are refused by name, and what is no number is a TypeError', async (t) => {
  const workers = await Workers.start(t, 1)
  const [pid] = workers.pids as [number]
  for (const call of ['lock', 'tryLock', 'unlock', 'isLocked', 'previousOwnerDied', 'lockAsync']) {
    for (const n of ['-1', '3'])
      assert.deepEqual(await workers.ask(pid, `return await uwsgi.${call}(${n})`), {
        name: 'UwsgiError',
        code: 'LOCK_NUMBER',
        message: `no user lock ${n}: there are 0 to 2; raise --locks`,
      })
    for (const n of ['1.5', '"1"', 'null', 'NaN'])
      assert.equal((await workers.ask(pid, `return await uwsgi.${call}(${n})`)).name, 'TypeError', `${call}(${n})`)
  }
  for (const timeout of ['-1', '"1"', 'NaN', 'null'])
    assert.equal((await workers.ask(pid, `return uwsgi.lock(0, { timeout: ${timeout} })`)).name, 'TypeError', timeout)
  const results = '[uwsgi.lock(), uwsgi.isLocked(), uwsgi.unlock(), uwsgi.isLocked(0), uwsgi.lock(2), uwsgi.tryLock(1)]'
  assert.deepEqual(await workers.result(pid, `return ${results}`), [true, true, null, false, true, true])
})

test('a lock kept over the end of a request stays with its worker; all others see it, none can take or break it', async (t) => {
  const workers = await Workers.start(t, 2)
  const [a, b] = workers.pids as [number, number]
  assert.equal(await workers.result(a, 'return uwsgi.lock(1)'), true)
  assert.equal(await workers.result(a, 'return uwsgi.isLocked(1)'), true)
  assert.equal(await workers.result(b, 'return uwsgi.isLocked(1)'), true)
  assert.equal(await workers.result(b, 'return uwsgi.tryLock(1)'), false)
  assert.equal(await workers.result(a, 'return uwsgi.tryLock(1)'), false)
  await workers.showsHolder('user 1', a)

  // uWSGI: the second lock hangs for ever, the unlock of another breaks the lock or its figures.
  assert.equal((await workers.ask(a, 'return uwsgi.lock(1)')).code, 'LOCK_HELD')
  const refused = await workers.ask(b, 'uwsgi.unlock(1)')
  assert.equal(refused.code, 'LOCK_NOT_OWNER')
  assert.match(refused.message!, new RegExp(`user 1 .* by pid ${a} `))
  assert.equal(await workers.result(b, 'return uwsgi.isLocked(1)'), true)
  await workers.showsHolder('user 1', a)

  assert.equal(await workers.result(a, 'uwsgi.unlock(1)'), null)
  assert.equal((await workers.ask(a, 'uwsgi.unlock(1)')).code, 'LOCK_NOT_OWNER')
  await workers.showsHolder('user 1', 0)
  // The unlock of a free lock left nothing: it is taken once, not twice.
  assert.equal(await workers.result(a, 'return uwsgi.tryLock(1)'), true)
  assert.equal(await workers.result(b, 'return uwsgi.tryLock(1)'), false)
})

test('a foreign unlock, and then its death, changes nothing for the owner', async (t) => {
  const workers = await Workers.start(t, 2)
  const [a, b] = workers.pids as [number, number]
  await workers.result(a, 'uwsgi.lock()')
  await workers.ask(b, 'uwsgi.unlock()')
  process.kill(b, 'SIGKILL')
  await workers.master.serving(3)
  const c = workers.pids[2]!
  assert.equal(await workers.result(c, 'return uwsgi.tryLock()'), false)
  await workers.result(a, 'uwsgi.unlock()')
  assert.deepEqual(await workers.result(c, 'return [uwsgi.tryLock(), uwsgi.previousOwnerDied()]'), [true, false])
})

for (const way of ['killed', 'exits'])
  test(`a worker that is ${way} with a lock: who waits has it within 250 ms and is told, and the log says so`, async (t) => {
    const workers = await Workers.start(t, 3)
    const [a, b, c] = workers.pids as [number, number, number]
    const end = () =>
      way === 'killed' ? process.kill(a, 'SIGKILL') : void workers.ask(a, 'process.exit()').catch(() => {})
    await workers.result(a, 'uwsgi.lock()')
    const waiting = workers.result(
      b,
      'uwsgi.lock(); const at = Date.now(); return [at, uwsgi.previousOwnerDied(), uwsgi.unlock(), uwsgi.lock(), uwsgi.previousOwnerDied()]',
    )
    await workers.waiting(c)
    const ended = Date.now()
    end()
    const [at, ...rest] = (await waiting) as [number, ...unknown[]]
    t.diagnostic(`handed over after ${at - ended} ms`)
    // The promise; machines in use for other things are granted the rest.
    assert.ok(at - ended < 250 + 750, `${at - ended} ms`)
    assert.deepEqual(rest, [true, null, true, false])
    await workers.master.line(
      new RegExp(`\\[deadlock-detector\\] pid ${a} \\(worker \\d\\) was holding lock user 0 and ended`),
    )
  })

test('a lock of the dead that nobody waits for: isLocked says no, and the next has it', async (t) => {
  const workers = await Workers.start(t, 2)
  for (let round = 0; round < 3; round++) {
    const [a] = workers.pids.slice(-1) as [number]
    assert.equal(await workers.result(a, 'return uwsgi.lock()'), true)
    assert.deepEqual(await workers.result(a, 'return uwsgi.previousOwnerDied()'), round > 0)
    process.kill(a, 'SIGKILL')
    await workers.master.serving(3 + round)
    assert.equal(await workers.result(workers.pids[0]!, 'return uwsgi.isLocked()'), false)
    await workers.showsHolder('user 0', 0)
  }
})

test('a stopped holder keeps its lock, the log names it, and says when all goes on', async (t) => {
  const workers = await Workers.start(t, 2, '--lock-alarm', '60')
  const [a, b] = workers.pids as [number, number]
  await workers.result(a, 'uwsgi.lock()')
  process.kill(a, 'SIGSTOP')
  assert.equal(await workers.result(b, 'return uwsgi.lock(0, { timeout: 100 })'), false)
  const waiting = workers.result(b, 'return (await uwsgi.lockAsync(0)).release()')
  await workers.waiting(b)
  await workers.master.line(
    new RegExp(`pid ${a} \\(worker \\d\\) holds lock user 0 for \\d.\\d s and is stopped; 1 waiting`),
  )
  await workers.showsHolder('user 0', a)
  process.kill(a, 'SIGCONT')
  await workers.result(a, 'uwsgi.unlock()')
  assert.equal(await waiting, true)
  await workers.master.line(/lock user 0 moves again; pid \d+ \(worker \d\) had it for \d.\d s/)
})

test('--lock-alarm tells of a lock that is held for long by one who lives', async (t) => {
  const workers = await Workers.start(t, 1, '--lock-alarm', '1')
  const [pid] = workers.pids as [number]
  await workers.result(pid, `kept.lock = uwsgi.namedLock('slow'); kept.lock.lock()`)
  await workers.master.line(
    new RegExp(`pid ${pid} \\(worker 1\\) holds lock user slow for 1.\\d s; it is alive, 0 waiting`),
  )
})

test('waiting does not block the event loop; a hold is released on every path', async (t) => {
  const workers = await Workers.start(t, 2)
  const [a, b] = workers.pids as [number, number]
  await workers.result(a, 'kept.hold = await uwsgi.lockAsync(0)')
  const waiting = workers.result(
    b,
    'const hold = await uwsgi.lockAsync(0); return [hold.previousOwnerDied, hold.release(), hold.release()]',
  )
  assert.equal(await workers.result(b, 'return 1 + 1'), 2)
  assert.equal(await workers.result(b, 'return await uwsgi.lockAsync(0, { timeout: 20 })'), null)
  assert.equal(await workers.result(b, 'return await uwsgi.lockAsync(0, { timeout: 0 })'), null)
  assert.equal(
    (await workers.ask(b, 'await uwsgi.lockAsync(0, { signal: AbortSignal.timeout(20) })')).name,
    'TimeoutError',
  )
  assert.equal((await workers.ask(b, 'await uwsgi.lockAsync(0, { signal: AbortSignal.abort() })')).name, 'AbortError')
  assert.equal((await workers.ask(b, 'await uwsgi.withLock(0, () => 1, { timeout: 20 })')).code, 'LOCK_TIMEOUT')
  assert.equal((await workers.ask(b, 'uwsgi.unlock(0)')).code, 'LOCK_NOT_OWNER')
  // The thread that holds it otherwise would wait for itself.
  assert.equal((await workers.ask(a, 'uwsgi.lock(0)')).code, 'LOCK_HELD')
  assert.equal((await workers.ask(a, 'uwsgi.unlock(0)')).code, 'LOCK_NOT_OWNER')
  assert.equal(await workers.result(a, 'return kept.hold.release()'), true)
  assert.deepEqual(await waiting, [false, true, false])

  assert.equal((await workers.ask(a, `await uwsgi.withLock(0, () => { throw new Error('no') })`)).message, 'no')
  assert.equal(await workers.result(a, 'return await uwsgi.withLock(0, async () => 5)'), 5)
  // What `await using` does at the end of its block.
  await workers.result(
    a,
    'const hold = await uwsgi.lockAsync(0); await hold[Symbol.asyncDispose](); await hold[Symbol.asyncDispose]()',
  )
  await workers.result(a, 'const hold = await uwsgi.lockAsync(0); hold[Symbol.dispose]()')
  assert.equal(await workers.result(b, 'return uwsgi.isLocked(0)'), false)
})

test('each lockAsync is an owner of its own, also within one process: no turn is lost, in whatever kind of lock', async (t) => {
  const workers = await Workers.start(t, 2, '--cache2', 'name=n,items=10')
  const locks = [`uwsgi.namedLock('plain')`, `uwsgi.namedLock('fair', { fair: true })`, `uwsgi.rwLock('both').write`]
  for (const [round, lock] of locks.entries()) {
    const code = `
      const lock = ${lock}
      await Promise.all(Array.from({ length: 300 }, () => lock.withLock(async () => {
        const n = Number(uwsgi.cacheGet('n') ?? 0)
        await new Promise(setImmediate)
        uwsgi.cacheUpdate('n', String(n + 1))
      })))`
    await Promise.all(workers.pids.map((pid) => workers.result(pid, code)))
    assert.equal(
      await workers.result(workers.pids[0]!, `return String(uwsgi.cacheGet('n'))`),
      String(600 * (round + 1)),
      lock,
    )
    assert.equal(await workers.result(workers.pids[1]!, `return (${lock}).isLocked()`), false)
  }
})

test('figures: turns, turns that were waited for, their time, recoveries', async (t) => {
  const workers = await Workers.start(t, 2)
  const [a, b] = workers.pids as [number, number]
  await workers.result(a, 'kept.hold = await uwsgi.lockAsync(1)')
  const waiting = workers.result(b, 'return (await uwsgi.lockAsync(1)).release()')
  await workers.waiting(a)
  await workers.result(a, 'await new Promise((go) => setTimeout(go, 300)); kept.hold.release()')
  await waiting
  await workers.result(a, 'uwsgi.lock(1)')
  process.kill(a, 'SIGKILL')
  await until('the dead is buried', async () => (await workers.result(b, 'return uwsgi.isLocked(1)')) === false)
  const [row] = (await workers.result(
    b,
    `return (await import(${JSON.stringify(locksModule)})).lockFigures().slice(1, 2)`,
  )) as [Figures]
  const { wait_us, longest_hold_us, ...rest } = row
  assert.deepEqual(rest, {
    name: 'user 1',
    kind: 'plain',
    pid: 0,
    acquisitions: 3,
    contended: 1,
    recoveries: 1,
    waiters: 0,
    engine: 'word',
  })
  assert.ok(wait_us >= 300_000 && wait_us < 3_000_000, `${wait_us}`)
  assert.ok(longest_hold_us >= 200_000 && longest_hold_us < 3_000_000, `${longest_hold_us}`)
})

test('recursive where asked for: as many unlocks as locks, also inside of withLock', async (t) => {
  const workers = await Workers.start(t, 2)
  const [a, b] = workers.pids as [number, number]
  const lock = `const lock = uwsgi.namedLock('again', { recursive: true }); `
  assert.deepEqual(
    await workers.result(
      a,
      `${lock}return [lock.lock(), lock.lock({ timeout: 5 }), lock.tryLock(), lock.unlock(), lock.unlock()]`,
    ),
    [true, true, true, null, null],
  )
  assert.equal(await workers.result(b, `${lock}return lock.tryLock()`), false)
  await workers.result(a, `${lock}lock.unlock()`)
  assert.equal(await workers.result(b, `${lock}return lock.isLocked()`), false)
  assert.deepEqual(
    await workers.result(
      a,
      `${lock}return await lock.withLock(async () => {
      const inner = await lock.withLock(async (hold) => [hold.release(), lock.isLocked()])
      return [...inner, lock.isLocked()]
    })`,
    ),
    [true, true, true],
  )
  assert.equal(await workers.result(b, `${lock}return lock.isLocked()`), false)
  assert.equal(
    (await workers.ask(a, 'await uwsgi.withLock(1, () => uwsgi.withLock(2, () => uwsgi.lockAsync(1)))')).code,
    'LOCK_HELD',
  )
})

test('names are shared by all, of one kind each, and their number is bounded', async (t) => {
  const workers = await Workers.start(t, 2, '--locks-max', '5')
  const [a, b] = workers.pids as [number, number]
  assert.equal(
    await workers.result(a, `kept.lock = uwsgi.namedLock('billing', { fair: true }); return kept.lock.lock()`),
    true,
  )
  assert.equal(await workers.result(b, `return uwsgi.namedLock('billing', { fair: true }).tryLock()`), false)
  await workers.showsHolder('user billing', a)
  assert.equal((await workers.ask(b, `uwsgi.namedLock('billing')`)).code, 'LOCK_KIND')
  assert.equal((await workers.ask(b, `uwsgi.rwLock('billing')`)).code, 'LOCK_KIND')
  for (const name of [`''`, `'x'.repeat(128)`, `'a\\0b'`])
    assert.equal((await workers.ask(b, `uwsgi.namedLock(${name})`)).code, 'LOCK_NAME', name)
  assert.equal((await workers.ask(b, 'uwsgi.namedLock(7)')).name, 'TypeError')
  await workers.result(b, `uwsgi.namedLock('second')`)
  assert.deepEqual(await workers.ask(b, `uwsgi.namedLock('third')`), {
    name: 'UwsgiError',
    code: 'LOCKS_FULL',
    message: 'no room for lock third: all 5 locks are in use; use fewer names, or raise --locks-max',
  })

  // Those who wait need room as well: 16 places for each lock.
  const crowd = await workers.result(
    b,
    `const all = await Promise.allSettled(Array.from({ length: 81 }, () => uwsgi.namedLock('billing', { fair: true }).lockAsync({ timeout: 300 })))
    return all.map(({ value, reason }) => reason?.message ?? value)`,
  )
  assert.deepEqual(crowd, [
    ...Array.from({ length: 80 }, () => null),
    'lock user billing: all 80 places for those who wait are taken; let fewer wait, or raise --locks-max',
  ])
})

test('read-write: readers together, a writer alone, nobody overtakes it, and dead readers are found', async (t) => {
  const workers = await Workers.start(t, 3)
  const [a, b, c] = workers.pids as [number, number, number]
  const lock = `const { read, write } = uwsgi.rwLock('prices'); `
  assert.equal(await workers.result(a, `${lock}return read.lock()`), true)
  assert.equal(await workers.result(b, `${lock}return read.tryLock()`), true)
  assert.deepEqual(
    await workers.result(c, `${lock}return [write.tryLock(), read.isLocked(), write.lock({ timeout: 20 })]`),
    [false, true, false],
  )
  assert.equal((await workers.ask(a, `${lock}write.lock()`)).code, 'LOCK_HELD')
  assert.equal((await workers.ask(c, `${lock}read.unlock()`)).code, 'LOCK_NOT_OWNER')
  const writing = workers.result(c, `${lock}return await write.withLock((hold) => hold.previousOwnerDied)`)
  await until(
    'the writer waits',
    async () =>
      !(await workers.result(
        a,
        `${lock}const hold = await read.lockAsync({ timeout: 0 }); hold?.release(); return hold`,
      )),
  )
  // uWSGI 2.0 never notices the death of a reader that was not the last to come.
  process.kill(a, 'SIGKILL')
  await workers.result(b, `${lock}read.unlock()`)
  assert.equal(await writing, false)
})

test('two that wait for each other: the youngest fails with DEADLOCK, the circle is in the log, the other goes on', async (t) => {
  const workers = await Workers.start(t, 2)
  const [a, b] = workers.pids as [number, number]
  const code = (first: string, second: string) => `
    return await uwsgi.namedLock('${first}').withLock(async () => {
      await new Promise((go) => setTimeout(go, 100))
      return await uwsgi.namedLock('${second}').withLock(() => 'done')
    })`
  const told = await Promise.all([workers.ask(a, code('left', 'right')), workers.ask(b, code('right', 'left'))])
  assert.deepEqual(told.map(({ result, code }) => result ?? code).toSorted(), ['DEADLOCK', 'done'])
  const [, circle] = await workers.master.line(/\[deadlock-detector\] a circle: (.*); the first of them gets DEADLOCK/)
  assert.match(
    circle!,
    /^pid \d+ \(worker \d\) waits for user (left|right), pid \d+ \(worker \d\) waits for user (left|right)$/,
  )

  // Blocking calls, too: there the whole thread waits.
  const blocking = await Promise.all([
    workers.ask(
      a,
      'uwsgi.lock(1); await new Promise((go) => setTimeout(go, 100)); try { return uwsgi.lock(2) } finally { uwsgi.unlock(1) }',
    ),
    workers.ask(
      b,
      'uwsgi.lock(2); await new Promise((go) => setTimeout(go, 100)); try { return uwsgi.lock(1) } finally { uwsgi.unlock(2) }',
    ),
  ])
  assert.deepEqual(blocking.map(({ result, code }) => result ?? code).toSorted(), ['DEADLOCK', true])
})
