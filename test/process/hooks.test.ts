// A worker's first and last words: onPostFork and onExit.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { app, folder, get, run, until } from '../harness.ts'

const forked = 'loaded first awaited second:1'

/** A master with the application of hooks.mjs, and what that has noted so far. */
function start(t: TestContext, trouble = 'none', ...args: string[]) {
  const file = join(folder(t), 'noted')
  const master = run(t, ['--http-socket', '127.0.0.1:0', ...args, app('hooks.mjs'), '--', file, trouble])
  return { master, noted: () => readFileSync(file, 'utf8').trim() }
}

test('onPostFork functions run in order once the module is loaded, before anything is served', async (t) => {
  const { master, noted } = start(t)
  await master.serving(1)
  assert.equal(noted(), forked)
  await get({ port: master.port() })
  assert.equal(noted(), `${forked} served:true`)
  await get({ port: master.port(), path: '/late' })
  await until('one that is registered later runs at once', () => noted() === `${forked} served:true served:true late`)
})

test('each worker that starts runs them', async (t) => {
  const { master, noted } = start(t)
  await master.serving(1)
  process.kill(master.pidsOfReady()[0]!, 'SIGKILL')
  await master.serving(2)
  assert.equal(noted(), `${forked} ${forked}`)
})

test('a failing onPostFork function is a failed application', async (t) => {
  const { master } = start(t, 'post-fork')
  assert.deepEqual(await master.ended, { status: 1, signal: null })
  assert.match(master.log, /^an onPostFork function failed: Error: no database\n +at /m)
})

test('onExit functions run once when a worker leaves, awaited, and a failing one stops no other', async (t) => {
  const { master, noted } = start(t)
  await master.serving(1)
  master.kill()
  assert.deepEqual(await master.ended, { status: 0, signal: null })
  assert.equal(noted(), `${forked} leaves left last`)
  assert.match(master.log, /^an onExit function failed: Error: cannot say goodbye\n +at /m)
})

test('an onExit function that never ends is ended with the mercy', async (t) => {
  const { master, noted } = start(t, 'never', '--worker-reload-mercy', '1')
  await master.serving(1)
  master.kill()
  assert.deepEqual(await master.ended, { status: 0, signal: null })
  assert.match(master.log, /NO MERCY/)
  assert.equal(noted(), `${forked} leaves left last`)
})

for (const [path, how, last] of [
  ['/exit', 'process.exit', 'served:true'],
  ['/throw', 'an uncaught error', 'served:true throws'],
])
  test(`at ${how} onExit functions do what they can do at once`, async (t) => {
    const { master, noted } = start(t)
    await master.serving(1)
    await get({ port: master.port(), path: path! }).catch(() => {})
    await until('the worker is gone', () => /DAMN ! worker 1/.test(master.log))
    assert.ok(noted().startsWith(`${forked} ${last} leaves last`), noted())
    assert.match(master.log, /cannot say goodbye/)
  })

test('in a process that is no worker onExit works, and onPostFork is never called', () => {
  const program = `import('uwshm').then(({ uwsgi }) => {
    uwsgi.onPostFork(() => console.log('forked'))
    uwsgi.onExit(() => console.log('left'))
    for (const call of [uwsgi.onPostFork, uwsgi.onExit])
      try { call('x') } catch (error) { console.log(error.name, error.message) }
  })`
  const cwd = join(import.meta.dirname, '../..')
  const { stdout } = spawnSync(process.execPath, ['-e', program], { cwd, encoding: 'utf8' })
  assert.equal(stdout, 'TypeError uwsgi.onPostFork takes a function\nTypeError uwsgi.onExit takes a function\nleft\n')
})
