// Stopping: what runs is finished, nobody new is let in, nothing stays.

import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { app, folder, get, isAlive, run, until } from '../harness.ts'

/** A master whose requests run until `finish` is called. */
async function slow(t: TestContext, ...args: string[]) {
  const place = folder(t)
  const go = join(place, 'go')
  const http = join(place, 'http.sock')
  const stats = join(place, 'stats.sock')
  const sockets = ['--http-socket', http, '--stats', stats]
  const master = await run(t, ['-p', '2', ...sockets, ...args, app('slow.mjs'), '--', go]).serving(2)
  const begun = () => (existsSync(`${go}.running`) ? readFileSync(`${go}.running`).length : 0)
  return {
    master,
    http,
    stats,
    running: (count: number) => until(`${count} requests run`, () => begun() === count),
    finish: () => writeFileSync(go, ''),
  }
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const)
  test(`${signal} lets the requests that run finish, and refuses new ones`, async (t) => {
    const { master, http, stats, running, finish } = await slow(t)
    const answers = [get({ socketPath: http }), get({ socketPath: http, path: '/begun' })]
    await running(2)
    assert.ok((await master.stats()).workers.some(({ status }) => status === 'busy'))
    master.kill(signal)
    await master.line(/SIGINT\/SIGTERM received\.\.\.killing workers/)
    // A worker that has not heard of it yet may still take one.
    const refused = (error: Error) => /ENOENT|ECONNREFUSED/.test(error.message)
    await until('new ones are refused', () => get({ socketPath: http, path: '/quick' }).then(() => false, refused))
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
  const { master, http, running, finish } = await slow(t)
  const answer = get({ socketPath: http })
  await running(1)
  master.ctrlC()
  await master.line(/killing workers/)
  finish()
  assert.equal((await answer).body, 'done')
  assert.equal((await master.ended).status, 0)
})

test('connections that are kept alive do not hold up the end', async (t) => {
  const { master, http, running, finish } = await slow(t)
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  await get({ socketPath: http, path: '/quick', agent })
  // Its headers, sent before the end began, promise to keep the connection.
  const begun = get({ socketPath: http, path: '/begun', agent })
  const notBegun = get({ socketPath: http, agent })
  await running(2)
  const stopped = performance.now()
  master.kill()
  await until('no worker listens any more', () => !listeningSockets().includes(http))
  finish()
  assert.equal((await begun).body, 'begun done')
  assert.equal((await notBegun).headers.connection, 'close')
  await master.ended
  // Node keeps an idle connection for five seconds.
  assert.ok(performance.now() - stopped < 3000)
})

test('a client that leaves while its worker waits for it does not hold up the end', async (t) => {
  const { master, http, running } = await slow(t, '--worker-reload-mercy', '60')
  const socket = connect({ path: http }).on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await running(2)
  master.kill()
  await master.line(/worker \d buried/) // the other one
  socket.destroy()
  assert.equal((await master.ended).status, 0)
})

test('what is not finished within the mercy is killed', async (t) => {
  const { master, http, running } = await slow(t, '--worker-reload-mercy', '1')
  const answer = get({ socketPath: http })
  await running(1)
  master.kill()
  await assert.rejects(answer, { code: 'ECONNRESET' })
  assert.equal((await master.ended).status, 0)
  assert.match(master.log, /worker \d \(pid: \d+\) is taking too much time to die\.\.\.NO MERCY !!!/)
})

test('a second signal ends it at once', async (t) => {
  const { master, http, stats, running } = await slow(t)
  const answer = get({ socketPath: http })
  answer.catch(() => {})
  await running(1)
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

/** Paths of unix sockets that somebody listens at. */
function listeningSockets(): string[] {
  const rows = readFileSync('/proc/net/unix', 'utf8').trim().split('\n').slice(1)
  const acceptsConnections = '00010000'
  return rows
    .map((row) => row.split(/\s+/))
    .flatMap(([, , , flags, , , , path]) => (flags === acceptsConnections && path ? [path] : []))
}
