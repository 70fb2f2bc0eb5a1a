// The master says that a cache is full, in uWSGI's words, and not at every item.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { app, folder, get, run, until } from '../harness.ts'

test('a full cache is said once, an evicting one by its own line, a silenced one not', async (t) => {
  const http = join(folder(t), 'http.sock')
  const caches = [
    'name=plain,items=5',
    'name=cleared,items=5,clear_on_full=1',
    'name=old,items=5,purge_lru=1',
    'name=quiet,items=5,ignore_full=1',
  ]
  const options = caches.flatMap((cache) => ['--cache2', cache])
  const master = await run(t, ['--http-socket', http, ...options, app('fills.mjs')]).serving(1)
  const said = (line: string) => master.log.split(line).length - 1
  const danger = (name: string) => said(`*** DANGER cache "${name}" is FULL !!! ***\n`)
  const purged = (name: string) => said(`LRU item will be purged from cache "${name}"\n`)

  await get({ socketPath: http, path: '/quiet' })
  await get({ socketPath: http, path: '/plain' })
  await until('the full cache is said', () => danger('plain') === 1)
  // Whatever the master says of these it says after its next look at all of them.
  await get({ socketPath: http, path: '/plain/quiet/old/cleared' })
  await until('the evicting cache is said', () => purged('old') === 1)
  await until('the cleared cache is said', () => danger('cleared') === 1)
  assert.deepEqual([danger('plain'), danger('old'), danger('quiet'), purged('plain'), purged('quiet')], [1, 0, 0, 0, 0])
})
