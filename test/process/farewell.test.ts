// Stopping: what runs is finished, nobody new is let in, nothing stays.

import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { app, folder, get, isAlive, type Master, run, until } from '../harness.ts'

/** A master whose requests run until `finish` is called. */
async function slow(t: TestContext, ...args: string[]) {
  const place = folder(t)
  const go = join(place, 'go')
  const http = join(place, 'http.sock')
  const stats = join(place, 'stats.sock')
  const sockets = ['--http-socket', http, '--stats', stats]
  const master = await run(t, ['-p', '2', ...sockets, ...args, app('slow.mjs'), '--', go]).serving(2)
  return { master, http, stats, finish: () => writeFileSync(go, '') }
}

const busy = (master: Master, count: number) =>
  until(`${count} workers are busy`, async () => {
    const { workers } = await master.stats()
    return workers.filter(({ status }) => status === 'busy').length === count
  })

for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const)
  test(`${signal} lets the requests that run finish, and refuses new ones`, async (t) => {
    const { master, http, stats, finish } = await slow(t)
    const answers = [get({ socketPath: http }), get({ socketPath: http, path: '/begun' })]
    await until('both run', async () => (await master.stats()).workers.some(({ status }) => status === 'busy'))
    master.kill(signal)
    await master.line(/SIGINT\/SIGTERM received\.\.\.killing workers/)
    await assert.rejects(get({ socketPath: http }), /ENOENT|ECONNREFUSED/)
    assert.ok(!master.hasEnded)
    finish()
    assert.deepEqual(
      (await Promise.all(answers)).map(({ body }) => body),
      ['done', 'begun done'],
    )
    assert.deepEqual(await master.ended, { status: 0, signal: null })
    assert.match(master.log, /worker 1 buried after \d+ seconds/)
    assert.match(master.log, /goodbye to uWSGI\.\n$/)
    assert.deepEqual([existsSync(http), existsSync(stats)], [false, false])
    assert.deepEqual(master.pidsOfReady().filter(isAlive), [])
  })

test('Ctrl-C reaches the workers too, and they leave it to the master', async (t) => {
  const { master, http, finish } = await slow(t)
  const answer = get({ socketPath: http })
  await busy(master, 1)
  master.ctrlC()
  await master.line(/killing workers/)
  finish()
  assert.equal((await answer).body, 'done')
  assert.equal((await master.ended).status, 0)
})

test('connections that are kept alive do not hold up the end', async (t) => {
  const { master, http, finish } = await slow(t)
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  await get({ socketPath: http, path: '/quick', agent })
  // Its headers, sent before the end began, promise to keep the connection.
  const begun = get({ socketPath: http, path: '/begun', agent })
  await busy(master, 1)
  const stopped = performance.now()
  master.kill()
  await master.line(/killing workers/)
  finish()
  assert.equal((await begun).body, 'begun done')
  await master.ended
  // Node keeps an idle connection for five seconds.
  assert.ok(performance.now() - stopped < 3000)
})

test('what is not finished within the mercy is killed', async (t) => {
  const { master, http } = await slow(t, '--worker-reload-mercy', '1')
  const answer = get({ socketPath: http })
  await busy(master, 1)
  master.kill()
  await assert.rejects(answer, { code: 'ECONNRESET' })
  assert.equal((await master.ended).status, 0)
  assert.match(master.log, /worker \d \(pid: \d+\) is taking too much time to die\.\.\.NO MERCY !!!/)
})

test('a second signal ends it at once', async (t) => {
  const { master, http, stats } = await slow(t)
  const answer = get({ socketPath: http })
  answer.catch(() => {})
  await busy(master, 1)
  master.kill()
  await master.line(/killing workers/)
  await until('the second is taken for a second one', async () => {
    master.kill()
    return master.hasEnded
  })
  await assert.rejects(answer, { code: 'ECONNRESET' })
  assert.deepEqual([existsSync(http), existsSync(stats)], [false, false])
  await until('no worker is left', () => master.pidsOfReady().filter(isAlive).length === 0)
})

test('a stopped (frozen) worker is ended after the mercy', async (t) => {
  const { master } = await slow(t, '--worker-reload-mercy', '1')
  process.kill(master.pidsOfReady()[0]!, 'SIGSTOP')
  master.kill()
  assert.equal((await master.ended).status, 0)
  assert.match(master.log, /NO MERCY/)
})

test('SIGHUP does not end anything', async (t) => {
  const { master, http } = await slow(t)
  process.kill(-master.pid, 'SIGHUP')
  await master.line(/SIGHUP: reloading is not built yet/)
  assert.equal((await get({ socketPath: http, path: '/quick' })).body, 'quick')
})
