// Every lock engine under a real master; and the one whose locks could outlive it.
//
// UWSHM_TEST_KILLS: how many masters are killed, 1000 for the whole promise.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { app, folder, get, isAlive, processesWith, run, until } from '../harness.ts'

const kills = Number(process.env.UWSHM_TEST_KILLS ?? 20)
const engines = {
  pthread: 'pthread robust mutexes',
  ipcsem: 'ipcsem',
  posixsem: 'POSIX semaphores',
  futex: 'futexes',
}

for (const [engine, title] of Object.entries(engines))
  test(`${engine}: two workers share a cache, one is killed, and the count goes on`, async (t) => {
    const http = join(folder(t), 'http.sock')
    const cache = ['--cache2', 'name=default,items=100,blocksize=64']
    const args = ['-p', '2', '--lock-engine', engine, '--http-socket', http, ...cache, app('counter.mjs')]
    const master = await run(t, args).serving(2)
    assert.ok(master.log.includes(`\nlock engine: ${title}\n`), master.log)
    const count = async () => Number((await get({ socketPath: http })).body.split(' ')[1])
    assert.equal(await count(), 1)
    process.kill(master.pidsOfReady()[0]!, 'SIGKILL')
    await master.serving(3)
    assert.equal(await count(), 2)
    master.kill()
    assert.equal((await master.ended).status, 0)
  })

test('--thunder-lock is accepted', async (t) => {
  const http = join(folder(t), 'http.sock')
  await run(t, ['--thunder-lock', '--http-socket', http, app('slow.mjs')]).serving(1)
})

interface Semaphores {
  set: number
  key: number
  mode: string
  count: number
}

/** What `ipcs -s` lists. */
function semaphores(): Semaphores[] {
  const rows = readFileSync('/proc/sysvipc/sem', 'utf8').trim().split('\n').slice(1)
  return rows.map((row) => {
    const [key, set, mode, count] = row.trim().split(/\s+/)
    return { key: Number(key), set: Number(set), mode: mode!, count: Number(count) }
  })
}

/** A file, and the key that ftok(3) makes of it. */
function keyed(t: TestContext) {
  const file = join(folder(t), 'key')
  writeFileSync(file, '')
  const { ino, dev } = statSync(file)
  return { file, key: (1 << 24) | ((dev & 0xff) << 16) | (ino & 0xffff) }
}

/** How many semaphores our instances have, as seen at one whose key is known. */
let count: number | undefined

/** An instance under ipcsem. Its sets are known by a number of semaphores that no other test's have. */
async function ipcsem(t: TestContext, ...more: string[]) {
  const http = join(folder(t), 'http.sock')
  const mark = `ipcsem-${process.pid}`
  const hashsizes = [1, 2, 4, 8, 16, 32, 64].filter((size) => (process.pid % 128) & size)
  const caches = hashsizes.flatMap((size) => ['--cache2', `name=c${size},items=10,blocksize=64,hashsize=${size}`])
  const all = [...caches, '--cache2', 'name=default,items=10,blocksize=64,hashsize=256']
  const args = ['--lock-engine', 'ipcsem', '--http-socket', http, ...all]
  const rest = [app('caught.mjs'), '--', mark]
  if (count === undefined) {
    const { file, key } = keyed(t)
    const first = await run(t, [...args, '--ftok', file, ...rest]).serving(1)
    count = semaphores().find((set) => set.key === key)!.count
    first.kill()
    await first.ended
  }
  return {
    http,
    start: () => run(t, [...args, ...more, ...rest]),
    sets: () => semaphores().filter((set) => set.count === count),
    isGone: () => processesWith(mark).length === 0,
  }
}

test('ipcsem: one set per instance, closed to others, removed at the end', async (t) => {
  const { start, sets, http } = await ipcsem(t, '-p', '2')
  const master = await start().serving(2)
  assert.deepEqual(
    sets().map(({ mode }) => mode),
    ['600'],
  )
  assert.equal((await get({ socketPath: http })).body, '1')
  master.kill()
  await master.ended
  assert.deepEqual(sets(), [])
})

test('ipcsem: a start that fails leaves no set', async (t) => {
  const { start, sets } = await ipcsem(t, '--http-socket', '192.0.2.1:80')
  assert.equal((await start().ended).status, 1)
  assert.deepEqual(sets(), [])
})

test(`ipcsem: ${kills} masters killed with -9, and the next start finds and removes what they left`, async (t) => {
  const { start, sets, isGone, http } = await ipcsem(t, '-p', '2')
  let left = 0
  let log = ''
  for (let kill = 0; kill < kills; kill++) {
    const master = start()
    if (kill % 2) await master.serving(2)
    else await new Promise((resolve) => setTimeout(resolve, (kill * 400) / kills))
    master.kill('SIGKILL')
    await until('every process of the instance is gone', isGone)
    log += master.log
    left += sets().length
    assert.ok(sets().length <= 1, 'each start removes what the last one left')
  }
  assert.ok(left > 0, 'a killed master cannot remove its set')
  const next = await start().serving(2)
  assert.equal(sets().length, 1)
  // Not each of them: other instances of this machine start too.
  assert.match(log + next.log, /removed \d+ semaphore sets? that killed instances had left/)
  assert.equal((await get({ socketPath: http })).body, '1')
  next.kill()
  await next.ended
  assert.deepEqual(sets(), [])
})

test('ipcsem: a start and an end remove nothing of another instance', async (t) => {
  const { start, sets, http } = await ipcsem(t)
  await start().serving(1)
  const mine = sets()
  const other = await (await ipcsem(t)).start().serving(1)
  assert.equal(sets().length, 2)
  other.kill()
  await other.ended
  assert.deepEqual(sets(), mine)
  assert.equal((await get({ socketPath: http })).body, '1')
})

test('ipcsem: --ftok gives the key; a second instance with it is refused, one after a kill is not', async (t) => {
  const { file, key } = keyed(t)
  const { start, sets, isGone, http } = await ipcsem(t, '--ftok', file)
  const first = await start().serving(1)
  assert.deepEqual(
    sets().map((set) => set.key),
    [key],
  )
  assert.equal((await get({ socketPath: http })).body, '1')
  const second = (await ipcsem(t, '--ftok', file)).start()
  assert.equal((await second.ended).status, 1)
  assert.match(second.log, /semaphores of that --ftok belong to a running instance.*; give each instance a file/)
  assert.equal((await get({ socketPath: http })).body, '2', 'the first was not disturbed')
  first.kill('SIGKILL')
  await until('every process of the instance is gone', isGone)
  await start().serving(1)
  assert.equal((await get({ socketPath: http })).body, '1')
  assert.equal(sets().length, 1)
})

test('ipcsem: a persistent set stays at the end, and serves the next start with its --ftok', async (t) => {
  const { file } = keyed(t)
  const lasting = await ipcsem(t, '--ftok', file, '--persistent-ipcsem')
  const master = await lasting.start().serving(1)
  master.kill()
  await master.ended
  assert.equal(lasting.sets().length, 1)
  const next = await (await ipcsem(t, '--ftok', file)).start().serving(1)
  next.kill()
  await next.ended
  assert.deepEqual(lasting.sets(), [])
})

test('ipcsem: a set removed from outside is an error of the caller, and ends nobody', async (t) => {
  const { start, sets, http } = await ipcsem(t)
  const master = await start().serving(1)
  assert.equal((await get({ socketPath: http })).body, '1')
  assert.equal(spawnSync('ipcrm', ['-s', String(sets()[0]!.set)]).status, 0)
  assert.equal((await get({ socketPath: http })).body, 'LOCK_BROKEN')
  assert.equal((await get({ socketPath: http })).body, 'LOCK_BROKEN')
  assert.ok(isAlive(master.pidsOfReady()[0]!))
  master.kill()
  assert.equal((await master.ended).status, 0)
})
