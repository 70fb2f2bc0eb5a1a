// getOrCompute among the workers of a real master: one computes, whoever dies, stops or throws.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { app, folder, get, type Master, run, until } from '../harness.ts'

const isFull = process.env.UWSHM_FULL === '1'

interface Told {
  result?: unknown
  name?: string
  code?: string
  message?: string
}

/** A master whose workers run what they are sent, and note in the cache when a computation begins. */
class Workers {
  readonly master: Master
  private readonly path: string

  private constructor(t: TestContext, count: number) {
    this.path = folder(t)
    const args = ['-p', String(count), '--cache2', 'name=pages,items=1000,blocksize=1k', app('locks.mjs')]
    this.master = run(t, args, { env: { LOCKS_FOLDER: this.path } })
  }

  static async start(t: TestContext, count: number): Promise<Workers> {
    const workers = new Workers(t, count)
    await workers.master.serving(count)
    return workers
  }

  get pids(): number[] {
    return this.master.pidsOfReady()
  }

  async ask(pid: number, code: string): Promise<Told> {
    const { body } = await get({ socketPath: `${this.path}/${pid}`, method: 'POST', body: prelude + code })
    return JSON.parse(body) as Told
  }

  async result(pid: number, code: string): Promise<unknown> {
    const told = await this.ask(pid, code)
    assert.equal(told.message, undefined)
    return told.result
  }

  /** Until so many computations have begun. */
  async begun(pid: number, count: number): Promise<void> {
    await until(`${count} have begun`, async () => (await this.result(pid, `return pages.num('begun')`)) === count)
  }
}

const prelude = `
  const pages = uwsgi.cache()
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  /** Computes for so long, and tells who did. */
  const slowly = (ms, value = String(process.pid)) => async () => {
    pages.inc('begun')
    kept.began = process.hrtime.bigint()
    await pause(ms)
    return value
  }
`

test('eight workers with a thousand callers each compute once', async (t) => {
  const workers = await Workers.start(t, 8)
  const many = `
    const all = await Promise.all(Array.from({ length: 1000 }, () => pages.getOrCompute('front', { ttl: 60 }, slowly(300))))
    return [...new Set(all)]`
  const told = await Promise.all(workers.pids.map((pid) => workers.result(pid, many)))
  const [[value]] = told as [[string]]
  assert.ok(workers.pids.includes(Number(value)))
  for (const values of told) assert.deepEqual(values, [value])
  assert.equal(await workers.result(workers.pids[0]!, `return pages.num('begun')`), 1)
})

test('whoever computes is killed: the next computes within 50 ms', async (t) => {
  const rounds = isFull ? 100 : 5
  const workers = await Workers.start(t, 3)
  const took: number[] = []
  for (let round = 0; round < rounds; round++) {
    await workers.master.serving(3 + round)
    const [holder, ...others] = workers.pids.slice(-3) as [number, number, number]
    const key = `'round ${round}'`
    await workers.result(holder, `pages.del('begun'); void pages.getOrCompute(${key}, {}, slowly(60_000)); return 0`)
    // It waits as soon as it was called.
    for (const pid of others)
      await workers.result(pid, `kept.wait = pages.getOrCompute(${key}, {}, slowly(20)); return 0`)
    const killed = process.hrtime.bigint()
    process.kill(holder, 'SIGKILL')
    const values = others.map((pid) => workers.result(pid, 'return await kept.wait'))
    const [first, second] = (await Promise.all(values)) as [string, string]
    assert.equal(first, second)
    const began = BigInt((await workers.result(Number(first), 'return String(kept.began)')) as string)
    took.push(Number(began - killed) / 1e6)
    // The one who was killed, and one more.
    assert.equal(await workers.result(others[0], `return pages.num('begun')`), 2)
  }
  took.sort((a, b) => a - b)
  const median = took[took.length >> 1]!
  t.diagnostic(`taken over after ${median.toFixed(1)} ms (median), ${took.at(-1)!.toFixed(1)} ms (worst) of ${rounds}`)
  assert.ok(median < 50, `${median} ms`)
})

test('nobody takes over from a process that is stopped', async (t) => {
  const workers = await Workers.start(t, 2)
  const [holder, other] = workers.pids as [number, number]
  await workers.result(holder, `void pages.getOrCompute('k', {}, slowly(50, 'of the stopped')); return 0`)
  process.kill(holder, 'SIGSTOP')
  // Longer than any look at whether it lives.
  const late = await workers.ask(other, `return await pages.getOrCompute('k', { timeout: 800 }, slowly(0))`)
  assert.equal(late.code, 'COMPUTE_TIMEOUT')
  assert.equal(
    late.message,
    'cache pages: the value of k was not there within 800 ms; allow it more time, or take a stale one',
  )
  const waiting = workers.result(other, `return await pages.getOrCompute('k', {}, slowly(0))`)
  process.kill(holder, 'SIGCONT')
  assert.equal(await waiting, 'of the stopped')
})

test('what throws is told to the callers of that process, and another one computes for itself', async (t) => {
  const workers = await Workers.start(t, 2)
  const [first, second] = workers.pids as [number, number]
  const failing = workers.result(
    first,
    `const fail = async () => { pages.inc('begun'); await pause(200); throw new Error('no database') }
     const both = await Promise.allSettled([1, 2].map(() => pages.getOrCompute('k', {}, fail)))
     return both.map(({ reason }) => reason.message)`,
  )
  await workers.begun(second, 1)
  assert.equal(await workers.result(second, `return await pages.getOrCompute('k', {}, slowly(0, 'mine'))`), 'mine')
  assert.deepEqual(await failing, ['no database', 'no database'])
  assert.equal(await workers.result(first, `return pages.num('begun')`), 2)
})

test('while one computes anew, the others are served the stale value at once', async (t) => {
  const workers = await Workers.start(t, 2)
  const [first, second] = workers.pids as [number, number]
  const options = '{ ttl: 0.05, stale: 60 }'
  assert.equal(await workers.result(first, `return await pages.getOrCompute('k', ${options}, slowly(0, 'old'))`), 'old')
  await until('it is stale', async () => Number(await workers.result(first, `return pages.ttl('k')`)) <= 60)
  const anew = workers.result(first, `return await pages.getOrCompute('k', ${options}, slowly(500, 'new'))`)
  await workers.begun(second, 2)
  assert.equal(
    await workers.result(second, `return await pages.getOrCompute('k', ${options}, slowly(0, 'never'))`),
    'old',
  )
  assert.equal(
    await workers.result(first, `return await pages.getOrCompute('k', ${options}, slowly(0, 'never'))`),
    'old',
  )
  assert.equal(await anew, 'new')
  assert.equal(await workers.result(second, `return pages.num('begun')`), 2)
})

test('a caller may leave; with the last one goes the wait, and the next begins anew', async (t) => {
  const workers = await Workers.start(t, 2)
  const [holder, other] = workers.pids as [number, number]
  await workers.result(holder, `void pages.getOrCompute('k', {}, slowly(400, 'theirs')); return 0`)
  const told = await workers.result(
    other,
    `const leaver = new AbortController()
     const left = pages.getOrCompute('k', { signal: leaver.signal }, slowly(0)).catch((error) => error.message)
     leaver.abort(new Error('gone'))
     const reason = await left
     return [reason, await pages.getOrCompute('k', {}, slowly(0))]`,
  )
  assert.deepEqual(told, ['gone', 'theirs'])
})

test('a value that needs itself is refused, also by way of another', async (t) => {
  const workers = await Workers.start(t, 1)
  const [pid] = workers.pids as [number]
  const about = (told: Told) => [told.code, told.message]
  const sentence = 'cache pages: to compute a its own value is needed; compute the parts of it under keys of their own'
  const itself = `pages.getOrCompute('a', {}, () => pages.getOrCompute('a', {}, slowly(0)))`
  assert.deepEqual(about(await workers.ask(pid, `return await ${itself}`)), ['COMPUTE_CIRCLE', sentence])
  const crossed = `
    const a = pages.getOrCompute('a', {}, async () => { await pause(20); return pages.getOrCompute('b', {}, slowly(0)) })
    const b = pages.getOrCompute('b', {}, async () => { await pause(40); return pages.getOrCompute('a', {}, slowly(0)) })
    return (await Promise.allSettled([a, b])).map(({ reason }) => reason.code)`
  assert.deepEqual(await workers.result(pid, crossed), ['COMPUTE_CIRCLE', 'COMPUTE_CIRCLE'])
})

test('bytes and text, wrong use, and a value that does not fit', async (t) => {
  const workers = await Workers.start(t, 1)
  const [pid] = workers.pids as [number]
  const told = await workers.result(
    pid,
    `const made = await pages.getOrCompute(Buffer.from('k'), { as: 'buffer' }, () => new Uint8Array([104, 105]))
     const long = await uwsgi.getOrCompute('long', { cache: 'pages' }, () => 'x'.repeat(2000))
     return [Buffer.isBuffer(made), await pages.getOrCompute('k', {}, slowly(0)), long.length, pages.exists('long')]`,
  )
  assert.deepEqual(told, [true, 'hi', 2000, false])
  for (const [options, compute, message] of [
    ['{ ttl: -1 }', 'slowly(0)', 'ttl: -1 is no duration from 0 on'],
    ['{ timeout: NaN }', 'slowly(0)', 'timeout: NaN is no duration from 0 on'],
    ['{}', '() => 7', 'what is computed for a cache is a string or a Uint8Array, not number'],
  ])
    assert.deepEqual(await workers.ask(pid, `return await pages.getOrCompute('w', ${options}, ${compute})`), {
      name: 'TypeError',
      message,
    })
})

test('there is room for --locks-max computations at a time', async (t) => {
  const path = folder(t)
  const args = ['-p', '1', '--locks-max', '4', '--cache2', 'name=pages,items=100', app('locks.mjs')]
  const master = await run(t, args, { env: { LOCKS_FOLDER: path } }).serving(1)
  const body = `${prelude}
    const all = [1, 2, 3, 4, 5].map((n) => pages.getOrCompute(String(n), {}, slowly(50)))
    return (await Promise.allSettled(all)).map(({ reason }) => reason?.message ?? '')`
  const answer = await get({ socketPath: `${path}/${master.pidsOfReady()[0]}`, method: 'POST', body })
  const full = 'all 4 places for computations are taken; let fewer run at a time, or raise --locks-max'
  assert.deepEqual((JSON.parse(answer.body) as Told).result, ['', '', '', '', full])
})
