// Workers killed with -9 while clients are served.
//
// UWSHM_TEST_KILLS: how many kills, 200 for the whole promise.

import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { test } from 'node:test'
import { app, get, type Master, run, until } from '../harness.ts'

const kills = Number(process.env.UWSHM_TEST_KILLS ?? 20)
const cache = ['--cache2', 'name=default,items=100']

/** What clients saw who asked for a count as fast as they could. */
class Load {
  readonly counts: number[] = []
  readonly resets: number[] = []
  readonly strange: string[] = []
  private isOver = false
  private readonly clients: Promise<void>[]

  constructor(port: number, clients: number) {
    this.clients = Array.from({ length: clients }, (_, index) => {
      // Every other client keeps its connection.
      const agent = index % 2 ? new Agent({ keepAlive: true, maxSockets: 1 }) : undefined
      return this.ask({ port, ...(agent && { agent }) }).finally(() => agent?.destroy())
    })
  }

  async end(): Promise<void> {
    this.isOver = true
    await Promise.all(this.clients)
  }

  private async ask(where: { port: number; agent?: Agent }): Promise<void> {
    while (!this.isOver) {
      const begun = performance.now()
      try {
        const { status, body } = await get(where)
        if (status === 200) this.counts.push(Number(body.split(' ')[1]))
        else this.strange.push(`status ${status}`)
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        if (code === 'ECONNRESET' || code === 'EPIPE') this.resets.push(performance.now() - begun)
        else this.strange.push(`${code} ${message}`)
      }
      if (performance.now() - begun > 3000) this.strange.push(`answered after ${performance.now() - begun} ms`)
    }
  }
}

for (const workers of [1, 3])
  test(`${workers} of ${workers} workers can be killed under load: nobody is refused, nobody hangs, the count is exact`, async (t) => {
    const socket = ['--http-socket', '127.0.0.1:0', '--stats', '127.0.0.1:0']
    const master = await run(t, ['-p', String(workers), ...socket, ...cache, app('counter.mjs')]).serving(workers)
    const load = new Load(master.port(), 16)
    const backAfter: number[] = []
    for (let kill = 0; kill < kills; kill++) {
      const asked = load.counts.length
      await until('the load goes on', () => load.counts.length > asked + 50)
      backAfter.push(await killOne(master, 1 + (kill % workers)))
    }
    await load.end()

    assert.deepEqual(load.strange, [])
    assert.ok(load.counts.length > kills * 50)
    assert.equal(new Set(load.counts).size, load.counts.length, 'two requests got one number')
    // A request that was reset may have counted before its worker died, once.
    const last = load.counts.reduce((most, count) => Math.max(most, count))
    assert.ok(last - load.counts.length <= load.resets.length, `${last} ${load.counts.length} ${load.resets.length}`)
    const lateReset = Math.max(0, ...load.resets)
    assert.ok(lateReset < 1000, `a client waited ${lateReset} ms for its reset`)
    const slowest = Math.max(...backAfter)
    const median = backAfter.sort((a, b) => a - b)[backAfter.length >> 1]!
    t.diagnostic(
      `back after ${median | 0} ms (median), ${slowest | 0} ms (slowest); ${load.resets.length} resets, the latest after ${lateReset | 0} ms`,
    )
    assert.ok(median < 1000, `back after ${median} ms`)
    const { workers: rows } = await master.stats()
    assert.equal(
      rows.reduce((sum, row) => sum + row.respawn_count, 0),
      workers + kills,
    )
  })

/** Kills the worker `id`; milliseconds until its successor serves. */
async function killOne(master: Master, id: number): Promise<number> {
  const row = async () => (await master.stats()).workers[id - 1]!
  const { pid } = await until(`worker ${id} serves`, async () => {
    const now = await row()
    return now.accepting === 1 && now
  })
  process.kill(pid, 'SIGKILL')
  const killed = performance.now()
  await until(`worker ${id} is back`, async () => {
    const now = await row()
    return now.accepting && now.pid !== pid
  })
  return performance.now() - killed
}

test('a worker that cannot be started for want of memory is tried again', async (t) => {
  const master = run(t, ['--http-socket', '127.0.0.1:0', ...cache, app('counter.mjs')], {
    env: { NODE_OPTIONS: `--import ${app('no-memory.mjs')}` },
  })
  const [pid] = (await master.serving(1)).pidsOfReady()
  process.kill(pid!, 'SIGKILL')
  await master.serving(2)
  assert.match(master.log, /cannot start worker 1: spawn ENOMEM/)
})

test('a worker that exits by itself is replaced, and its exit is told', async (t) => {
  const socket = ['--http-socket', '127.0.0.1:0', '--stats', '127.0.0.1:0']
  const master = await run(t, [...socket, ...cache, app('counter.mjs')]).serving(1)
  const [pid] = master.pidsOfReady()
  process.kill(pid!, 'SIGTERM')
  await master.line(/DAMN ! worker 1 \(pid: \d+\) died, status 0 :\( trying respawn \.\.\./)
  await master.line(/Respawned uWSGI worker 1 \(new pid: \d+\)/)
  await master.serving(2)
  assert.match((await get({ port: master.port() })).body, / 1$/)
})
