// Counting by many processes at once loses nothing. UWSHM_FULL=1 makes it a million calls each.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { app, folder, get, run } from '../harness.ts'

const each = process.env.UWSHM_FULL === '1' ? 1_000_000 : 100_000

for (const policy of ['none', 'sieve'])
  test(`eight processes count ${each} times each on one key, and it is exact (policy ${policy})`, async (t) => {
    const path = folder(t)
    const args = ['-p', '8', '--cache2', `name=counts,items=10,blocksize=8,policy=${policy}`, app('locks.mjs')]
    const master = await run(t, args, { env: { LOCKS_FOLDER: path } }).serving(8)
    const ask = async (pid: number, body: string) =>
      JSON.parse((await get({ socketPath: `${path}/${pid}`, method: 'POST', body })).body) as { result: number }
    const pids = master.pidsOfReady()
    await Promise.all(
      pids.map((pid) => ask(pid, `const c = uwsgi.cache(); for (let i = 0; i < ${each}; i++) c.inc('n')`)),
    )
    assert.equal((await ask(pids[0]!, `return uwsgi.cacheNum('n')`)).result, 8 * each)
  })
