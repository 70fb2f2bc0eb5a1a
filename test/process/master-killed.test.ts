// Masters killed with -9: nothing of them may stay.
//
// UWSHM_TEST_KILLS: how many kills, 200 for the whole promise.

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { app, folder, get, processesWith, run, until } from '../harness.ts'

const kills = Number(process.env.UWSHM_TEST_KILLS ?? 20)

test(`a master killed with -9 at any moment, ${kills} times, takes its workers along and leaves nothing behind`, async (t) => {
  const place = folder(t)
  const mark = `killed-${process.pid}`
  const [http, stats] = [join(place, 'http.sock'), join(place, 'stats.sock')]
  const args = [
    '-p',
    '2',
    '--http-socket',
    http,
    '--stats',
    stats,
    '--cache2',
    'name=default,items=100',
    app('counter.mjs'),
    '--',
    mark,
  ]
  const before = sharedObjects()
  for (let kill = 0; kill < kills; kill++) {
    const master = run(t, args)
    // From before it has bound anything until well after it serves.
    if (kill % 2) await master.serving(2)
    else await new Promise((resolve) => setTimeout(resolve, (kill * 400) / kills))
    const clients = kill % 2 ? [get({ socketPath: http }), get({ socketPath: http })] : []
    master.kill('SIGKILL')
    await Promise.allSettled(clients)
    await until('every process of the instance is gone', () => processesWith(mark).length === 0, 2000)
  }
  assert.deepEqual(sharedObjects(), before)

  // And the socket files that are left do not block the next one.
  assert.ok(existsSync(http))
  await run(t, args).serving(2)
  assert.match((await get({ socketPath: http })).body, / 1$/)
})

/** Names in /dev/shm, and what `ipcs` would list. */
function sharedObjects(): string[] {
  const ipc = ['shm', 'sem', 'msg'].flatMap((kind) => {
    const rows = readFileSync(`/proc/sysvipc/${kind}`, 'utf8').trim().split('\n').slice(1)
    return rows.map((row) => `${kind} ${row.trim().split(/\s+/)[1]}`)
  })
  return [...readdirSync('/dev/shm'), ...ipc].sort()
}
