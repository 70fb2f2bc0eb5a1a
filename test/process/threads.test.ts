// worker_threads: the mapping is their process's, the thread slot their own,
// and the native code outlives whoever loaded it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

const rounds = Number(process.env.UWSHM_THREAD_ROUNDS ?? 1000)
const package_ = new URL('../../dist/index.js', import.meta.url).href
const native_ = new URL('../../dist/native.js', import.meta.url).href

/** Runs `main` in a process whose main thread never loads the addon itself unless `main` does. */
function run(main: string, env: Record<string, string | undefined>) {
  return spawnSync(process.execPath, ['-e', main], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 120_000,
  })
}

test(`a worker thread that alone loads the addon, ${rounds} times started and ended: no crash, life and locks right`, () => {
  // The outer process is the master; the inner one only ever uses uwshm in threads that end, half of them by force.
  const inner = `
    const { Worker } = process.getBuiltinModule('node:worker_threads')
    const code = \`const { parentPort } = require('node:worker_threads')
      import(${JSON.stringify(package_)}).then(({ uwsgi }) => {
        for (let i = 0; i < 5; i++) uwsgi.cacheInc('n')
        uwsgi.cacheUpdate('text', 'x'.repeat(50)); uwsgi.cacheGet('text')
        parentPort.postMessage('done')
        if (process.env.BUSY) for (;;) { uwsgi.cacheInc('busy'); uwsgi.cacheUpdate('b', 'b'); uwsgi.cacheDel('b') }
      })\`
    const once = (i) => new Promise((resolve) => {
      const worker = new Worker(code, { eval: true, env: { ...process.env, BUSY: i % 2 ? '1' : '' } })
      worker.once('error', (error) => { console.log(error); process.exit(1) })
      worker.once('message', () => { if (i % 2) worker.terminate() })
      worker.once('exit', resolve)
    })
    ;(async () => { for (let i = 0; i < ${rounds}; i += 4) await Promise.all([0, 1, 2, 3].map((j) => once(i + j))) })()`
  const outer = `
    const { spawn } = process.getBuiltinModule('node:child_process')
    Promise.all([import(${JSON.stringify(package_)}), import(${JSON.stringify(native_)})]).then(([{ create, uwsgi }, { native }]) => {
      create({ cache2: ['name=n,items=100,blocksize=64'] })
      const child = spawn(process.execPath, ['-e', ${JSON.stringify(inner)}], { stdio: ['ignore', 'inherit', 'inherit'] })
      let seenAlive = false
      const look = setInterval(() => { seenAlive ||= native.processes().some((one) => one.pid === child.pid && one.alive) }, 20)
      child.once('exit', (status, signal) => {
        clearInterval(look)
        native.reclaim()
        console.log(JSON.stringify({ status, signal, seenAlive, n: uwsgi.cacheNum('n'), check: native.checkCache(0),
          left: native.processes().length, locks: native.locks() }))
      })
    })`
  const { stdout, stderr, status } = run(outer, { UWSHM_ATTACH: undefined })
  assert.equal(status, 0, stderr + stdout)
  assert.deepEqual(JSON.parse(stdout), {
    status: 0,
    signal: null,
    seenAlive: true,
    n: rounds * 5,
    check: null,
    left: 1,
    locks: [
      ['user 0', 0],
      ['processes', 0],
      ['cache_n', 0],
    ],
  })
})

test('more threads at a time than there are slots: one sentence, and slots come back', () => {
  const main = `
    const { Worker } = process.getBuiltinModule('node:worker_threads')
    import(${JSON.stringify(package_)}).then(async ({ create, uwsgi }) => {
      create({ cache2: ['name=n,items=100'], maxProcesses: 2 }) // one slot is the master's from here on
      const code = \`const { parentPort } = require('node:worker_threads')
        import(${JSON.stringify(package_)}).then(({ uwsgi }) => uwsgi.cacheInc('n'))
          .then(() => parentPort.postMessage('in'), (error) => parentPort.postMessage(error.message))
        parentPort.once('message', () => process.exit())\`
      const start = () => new Promise((resolve) => {
        const worker = new Worker(code, { eval: true })
        worker.once('message', (text) => resolve({ worker, text }))
      })
      const first = []
      for (let i = 0; i < 7; i++) first.push(await start())
      const eighth = await start()
      console.log(first.every(({ text }) => text === 'in'), eighth.text)
      for (const { worker } of [...first, eighth]) await worker.terminate()
      const again = await start()
      console.log(again.text, uwsgi.cacheNum('n'))
      await again.worker.terminate()
      process.exit()
    })`
  const { stdout, stderr } = run(main, { UWSHM_ATTACH: undefined })
  assert.equal(stdout, 'true all 8 thread slots are taken; raise --max-processes\nin 8\n', stderr)
})
