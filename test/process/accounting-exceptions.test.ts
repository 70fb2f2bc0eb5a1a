// What an application throws: one exception, one stack in the log, one answer; and
// where it is nobody's to catch, Node ends the worker and the count survives.

import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'
import { accountsOf } from '../figures.ts'
import { type Answer, app, get, run, until } from '../harness.ts'

const http = ['--http-socket', '127.0.0.1:0']
const stacks = (log: string) => log.match(/^Error: thrown here\n {4}at /gm)?.length ?? 0

test('a listener that throws or rejects costs its own request a 500, and counts one exception with one stack', async (t) => {
  const master = run(t, [...http, app('accounted.mjs')])
  const accounts = await accountsOf(t, master)
  const port = master.port()
  for (const [index, path] of ['/throw', '/reject', '/throw-with-headers'].entries()) {
    const { status, headers, body }: Answer = await get({ port, path })
    assert.deepEqual([status, body], [500, 'Internal Server Error\n'])
    assert.equal(headers.etag, undefined, 'the headers of an answer that there is not')
    const { requests, exceptions } = await accounts.settled(index + 1)
    assert.deepEqual([requests, exceptions], [index + 1, index + 1])
    await until('its stack is told once', () => stacks(master.log) === index + 1)
  }
  assert.equal(master.pidsOfReady().length, 1, 'the worker lives')
})

test('an answer that was begun is cut off, so that nobody takes it for whole; one that was whole stays', async (t) => {
  const master = run(t, [...http, app('accounted.mjs')])
  const accounts = await accountsOf(t, master)
  const port = master.port()
  await assert.rejects(get({ port, path: '/throw-late' }), { code: 'ECONNRESET' })
  assert.equal((await get({ port, path: '/throw-after' })).body.length, 10_000_000)
  const { requests, exceptions, readErrors, writeErrors } = await accounts.settled(2)
  assert.deepEqual([requests, exceptions, readErrors, writeErrors], [2, 2, 0, 0])
  await until('both stacks are told', () => stacks(master.log) === 2)
})

test('a Fetch handler that throws or rejects counts as a listener does', async (t) => {
  const master = run(t, [...http, app('throwing-fetch.mjs')])
  const accounts = await accountsOf(t, master)
  const port = master.port()
  assert.equal((await get({ port, path: '/sync' })).status, 500)
  assert.equal((await get({ port, path: '/async' })).status, 500)
  await assert.rejects(get({ port, path: '/body' }), { code: 'ECONNRESET' })
  const { requests, exceptions } = await accounts.settled(3)
  assert.deepEqual([requests, exceptions], [3, 3])
  await until('each stack is told once', () => stacks(master.log) === 3)

  const leaves = request({ host: '127.0.0.1', port, path: '/read', method: 'POST' }).on('error', () => {})
  leaves.write('half')
  await until('it is in flight', async () => (await accounts.inFlight()) === 1)
  leaves.destroy()
  const after = await accounts.settled(4)
  assert.deepEqual(
    [after.exceptions, after.readErrors],
    [3, 1],
    "what fails because the client left is nobody's exception",
  )
  assert.equal((await get({ port, path: '/async' })).status, 500)
  assert.equal((await accounts.settled(5)).exceptions, 4)
})

test('what nobody catches ends the worker as Node has it, and is counted, from then on for ever', async (t) => {
  const master = run(t, [...http, app('accounted.mjs')])
  const accounts = await accountsOf(t, master)
  let exceptions = 0
  for (const path of ['/timer', '/nobody-waits']) {
    const [before] = await accounts.workers()
    await get({ port: master.port(), path }).catch(() => {}) // it may die before its answer is out
    await until('the worker is replaced', async () => {
      const [now] = await accounts.workers()
      return now!.pid !== before!.pid && now!.accepting === 1
    })
    exceptions++
    assert.equal((await accounts.settled(0)).exceptions, exceptions)
  }
  await master.line(/died, status 1 /)
})

test('a server of its own that throws in its listener dies of it, and the exception is counted', async (t) => {
  const master = run(t, [app('throwing-server.mjs')])
  const accounts = await accountsOf(t, master)
  const [, port] = await master.line(/listens at port (\d+)/)
  await assert.rejects(get({ port: Number(port) }))
  await master.serving(2)
  const { exceptions } = await until('it is counted', async () => {
    const totals = await accounts.settled(0)
    return totals.exceptions > 0 && totals
  })
  assert.equal(exceptions, 1)
})
