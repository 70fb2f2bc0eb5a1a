// User locks of one program that has no workers: its worker threads, its end, and what
// finds the dead when there is no master to look.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

const package_ = new URL('../../dist/index.js', import.meta.url).href

const native_ = new URL('../../dist/native.js', import.meta.url).href

/** Runs a program that begins as a master; what it printed. */
function run(main: string): string {
  const { UWSHM_ATTACH: _, ...env } = process.env
  const program = `
    import { spawn } from 'node:child_process'
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    import { create, uwsgi } from ${JSON.stringify(package_)}
    import { native } from ${JSON.stringify(native_)}
    create({ locks: 9, cache2: ['name=n,items=10'] })
    const thread = (code) => new Worker(
      \`const { parentPort } = require('node:worker_threads')
      import(${JSON.stringify(package_)}).then(async ({ uwsgi }) => { \${code} })\`, { eval: true, execArgv: [] })
    const child = (code) => spawn(process.execPath, ['--input-type=module', '-e',
      "import { uwsgi } from '${package_}'; " + code], { stdio: ['pipe', 'pipe', 'inherit'] })
    ${main}`
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    env,
    timeout: 60_000,
  })
  assert.deepEqual({ status, signal }, { status: 0, signal: null }, stderr + stdout)
  return stdout
}

test('a worker thread is an owner of its own, and lets go of everything when it ends', () => {
  const out = run(`
    const worker = thread("uwsgi.lock(0); globalThis.hold = await uwsgi.lockAsync(1); uwsgi.rwLock('rw').read.lock(); parentPort.postMessage(uwsgi.isLocked(0)); parentPort.once('message', () => process.exit())")
    console.log(...await once(worker, 'message'), uwsgi.tryLock(0), uwsgi.tryLock(1), uwsgi.rwLock('rw').write.tryLock())
    try { uwsgi.unlock(0) } catch ({ code }) { console.log(code) }
    const waiting = uwsgi.lockAsync(1)
    const ended = once(worker, 'exit')
    worker.postMessage('')
    const hold = await waiting
    console.log(hold.previousOwnerDied, hold.release())
    await ended
    console.log(uwsgi.lock(0), uwsgi.previousOwnerDied(0), uwsgi.rwLock('rw').write.tryLock())`)
  assert.equal(out, 'true false false false\nLOCK_NOT_OWNER\ntrue true\ntrue true true\n')
})

test('a worker thread ended while it waits leaves no trace, a hundred times', () => {
  const out = run(`
    uwsgi.lock(0)
    for (let i = 0; i < 100; i += 4)
      await Promise.all([0, 1, 2, 3].map(async () => {
        const worker = thread("for (let n = 0; n < 5; n++) void uwsgi.lockAsync(0); parentPort.postMessage('')")
        await once(worker, 'message')
        await worker.terminate()
      }))
    uwsgi.unlock(0)
    const hold = await uwsgi.lockAsync(0, { timeout: 5000 })
    console.log(hold.release(), uwsgi.isLocked(0))`)
  assert.equal(out, 'true false\n')
})

test('who waits keeps the program running, and process.exit ends it all the same', () => {
  assert.equal(
    run(`const hold = await uwsgi.lockAsync(0); setTimeout(() => hold.release(), 50).unref(); setTimeout(() => {}, 60)
    const next = await uwsgi.lockAsync(0); console.log(next.previousOwnerDied)`),
    'false\n',
  )
  assert.equal(
    run(
      `uwsgi.lock(0); void uwsgi.lockAsync(0).then(() => console.log('never')); setTimeout(() => process.exit(), 20)`,
    ),
    '',
  )
  assert.equal(run(`uwsgi.lock(0); console.log(await uwsgi.lockAsync(0, { timeout: 30 }))`), 'null\n')
})

test('a child process that is killed with a lock: its parent is told', () => {
  const out = run(`
    const one = child("uwsgi.lock(2); console.log('locked'); setInterval(() => {}, 1000)")
    await once(one.stdout, 'data')
    const waiting = uwsgi.lockAsync(2)
    one.kill('SIGKILL')
    const hold = await waiting
    console.log(hold.previousOwnerDied)
    process.exit()`)
  assert.equal(out, 'true\n')
})

test("the master's watcher needs no JavaScript: a lock of the dead is handed over while that is blocked", (t) => {
  // Who waits looks for itself every 200 ms, so without the watcher it would take 100 of them.
  const out = run(`
    const took = []
    for (let round = 0; round < 7; round++) {
      const holder = child("uwsgi.lock(2); console.log('locked'); setInterval(() => {}, 1000)")
      await once(holder.stdout, 'data')
      const next = child("console.log('waits'); uwsgi.lock(2); console.log(Date.now()); process.exit()")
      await once(next.stdout, 'data')
      while (native.lockFigures()[2].waiters === 0) await new Promise(setImmediate)
      const told = once(next.stdout, 'data')
      const at = Date.now()
      holder.kill('SIGKILL')
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)
      took.push(Number((await told)[0]) - at)
    }
    console.log(JSON.stringify(took.sort((a, b) => a - b)))
    process.exit()`)
  const took = JSON.parse(out) as number[]
  t.diagnostic(`handed over after ${took.join(', ')} ms`)
  assert.ok(took[3]! < 50, out)
})

test('taken with or without a native call, by two processes and a thread: no turn is lost, and each is counted', () => {
  const out = run(`
    const turns = "uwsgi.cacheInc('ready'); while (uwsgi.cacheNum('ready') < 3); for (let i = 0; i < 20000; i++) { uwsgi.lock(); uwsgi.cacheUpdate('n', String(Number(uwsgi.cacheGet('n')) + 1)); uwsgi.unlock() }"
    uwsgi.cacheUpdate('n', '0')
    const all = [once(child(turns), 'exit'), once(thread(turns), 'exit')]
    while ((uwsgi.cacheNum('ready') ?? 0) < 2) await new Promise((look) => setTimeout(look, 5))
    new Function('uwsgi', turns)(uwsgi)
    await Promise.all(all)
    console.log(String(uwsgi.cacheGet('n')), native.lockFigures()[0].acquisitions, native.lockLent().length)`)
  assert.equal(out, '60000 60000 5\n')
})

test('killed before each of the stores by which JavaScript takes and lets go, none keeps the lock', () => {
  // The arrays of locks/lent.ts are wrapped, so that each store is a step; `left` steps are granted.
  const stepper = `
    const raw = new WeakMap(), cas = Atomics.compareExchange
    let left = Infinity
    const step = () => { if (left-- === 0) process.kill(process.pid, 'SIGKILL') }
    for (const name of ['Int32Array', 'BigInt64Array']) {
      const Plain = globalThis[name]
      globalThis[name] = class {
        constructor(...from) {
          const array = new Plain(...from)
          const proxy = new Proxy(array, {
            get: (_, key) => array[key],
            set: (_, key, value) => (step(), (array[key] = value), true),
          })
          raw.set(proxy, array)
          return proxy
        }
      }
    }
    Atomics.compareExchange = (array, ...rest) => (step(), cas(raw.get(array) ?? array, ...rest))
    const { uwsgi } = await import('${package_}')
    uwsgi.lock(LOCK)
    uwsgi.unlock(LOCK)
    left = LOCK
    uwsgi.lock(LOCK)
    uwsgi.unlock(LOCK)
    process.exit(left)`
  const out = run(`
    const ends = await Promise.all(Array.from({ length: 10 }, async (_, lock) => {
      const body = ${JSON.stringify(stepper)}.replaceAll('LOCK', lock)
      const victim = spawn(process.execPath, ['--input-type=module', '-e', body], { stdio: 'inherit' })
      const [code, signal] = await once(victim, 'exit')
      const hold = await uwsgi.lockAsync(lock, { timeout: 5000 })
      return [signal ?? code, hold?.previousOwnerDied, hold?.release()].join()
    }))
    console.log(ends.join(' '))`)
  const killed = Array.from({ length: 9 }, (_, step) => `SIGKILL,${step > 0},true`)
  assert.deepEqual(out.trim().split(' '), [...killed, '0,false,true'], 'nine steps, and one who took them all')
})

test('unlock is refused to who does not have the lock, however it was taken and counted', () => {
  const out = run(`
    const codes = []
    const fails = (lock) => { try { lock.unlock() } catch ({ code }) { codes.push(code) } }
    const plain = uwsgi.namedLock('x'), again = uwsgi.namedLock('x', { recursive: true })
    plain.lock()
    again.unlock()
    const hold = await again.lockAsync()
    fails(plain)
    codes.push(hold.release())
    plain.lock()
    again.lock()
    plain.unlock()
    codes.push(again.isLocked())
    plain.unlock()
    codes.push(plain.isLocked())
    fails(again)
    console.log(...codes)`)
  assert.equal(out, 'LOCK_NOT_OWNER true true false LOCK_NOT_OWNER\n')
})

test('LOCK_BUSY: somebody is stopped while it changes the queue of a lock; when it goes on, so does all', () => {
  const out = run(`
    const prices = uwsgi.rwLock('prices')
    const queuing = child("const prices = uwsgi.rwLock('prices'); uwsgi.lock(5); for (;;) { prices.read.tryLock(); prices.read.unlock() }")
    while (!uwsgi.isLocked(5)) await new Promise((look) => setTimeout(look, 5))
    const codes = []
    for (;;) {
      queuing.kill('SIGSTOP')
      // False after a second: it stands where only one may be, not somewhere else.
      if (!prices.read.tryLock()) break
      prices.read.unlock()
      queuing.kill('SIGCONT')
      await new Promise((go) => setTimeout(go, 1))
    }
    await prices.read.lockAsync().catch(({ code, message }) => console.log(code + ': ' + message))
    queuing.kill('SIGCONT')
    const hold = await prices.read.lockAsync()
    console.log(hold.release())
    queuing.kill('SIGKILL')
    console.log((await prices.write.lockAsync()).release())`)
  assert.equal(
    out,
    'LOCK_BUSY: lock user prices: a process stands still in the middle of a change of its queue; resume or end that process\ntrue\ntrue\n',
  )
})
