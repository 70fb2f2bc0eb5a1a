// Under load the account stays exact to the unit: against a client that counts
// bytes until the server ends each connection, against an application that counts
// its calls in shared memory, and with workers killed in the middle of it.
//
// UWSHM_TEST_REQUESTS: how many requests (default 100,000). UWSHM_TEST_KILLS: how many
// workers are killed (default 5).

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { accountsOf, sum } from '../figures.ts'
import { app, type Master, run, until } from '../harness.ts'

const most = Number(process.env.UWSHM_TEST_REQUESTS ?? 100_000)
const mostKills = Number(process.env.UWSHM_TEST_KILLS ?? 5)
const noFaults = { exceptions: 0, readErrors: 0, writeErrors: 0 }

async function serve(t: TestContext) {
  const cache = ['--cache2', 'name=calls,items=1']
  const master = run(t, ['--http-socket', '127.0.0.1:0', '-p', '2', ...cache, app('accounted.mjs')])
  await master.serving(2)
  return { master, accounts: await accountsOf(t, master) }
}

/** A second of wrk; the answers it got. */
async function wrk(master: Master): Promise<number> {
  const child = spawn('wrk', ['-t2', '-c32', '-d1s', `http://127.0.0.1:${master.port()}/counted`])
  return Number((await text(child.stdout)).match(/(\d+) requests in/)?.[1])
}
const hasWrk = spawnSync('wrk', ['-v']).error === undefined

test('pipelined over many connections: each request and each byte that the client got', async (t) => {
  const { master, accounts } = await serve(t)
  const connections = 8
  const each = Math.ceil(most / 5 / connections)
  const request = 'GET /hello HTTP/1.1\r\nHost: a\r\n\r\n'
  const received = await Promise.all(Array.from({ length: connections }, () => talk(master.port())))
  const requests = connections * (each + 1)
  const tx = sum(received, (bytes) => bytes)
  await accounts.become({ requests, tx, ...noFaults })

  async function talk(port: number): Promise<number> {
    const socket = connect({ host: '127.0.0.1', port })
    let bytes = 0
    socket.on('data', (part) => {
      bytes += part.length
    })
    for (let left = each; left > 0; left -= 100)
      if (!socket.write(request.repeat(Math.min(left, 100)))) await once(socket, 'drain')
    socket.write('GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await once(socket, 'close')
    return bytes
  }
})

test('under wrk: as often as the application was called, and the bytes of so many answers', async (t) => {
  if (!hasWrk) return t.skip('wrk is missing')
  const { master, accounts } = await serve(t)
  const port = master.port()
  for (let answered = 0; answered < most; ) answered += await wrk(master)
  // wrk hangs up on what is in flight at its end, and does not count it.
  await accounts.settled(0)
  const { begun, asked, bytes } = await calls(port)
  const { requests, tx, exceptions, readErrors } = await accounts.settled(begun + asked)
  assert.deepEqual([requests, exceptions, readErrors], [begun + asked, 0, 0])
  assert.equal(tx, begun * (await answer(port, '/counted')).length + bytes)
})

test('with workers killed in the middle of it, at most what they had in flight is missing', async (t) => {
  if (!hasWrk) return t.skip('wrk is missing')
  const { master, accounts } = await serve(t)
  let isOver = false
  const load = (async () => {
    while (!isOver) await wrk(master)
  })()
  let inFlight = 0
  for (let kills = 0; kills < mostKills; ) {
    await setTimeout(50) // it shall have something in flight, now here, now there
    const [worker] = (await accounts.workers()).filter(({ accepting, requests }) => accepting && requests > 0)
    if (worker === undefined) continue
    process.kill(worker.pid, 'SIGSTOP')
    await until('it stands', () => readFileSync(`/proc/${worker.pid}/stat`, 'utf8').includes(') T '))
    inFlight += (await accounts.workers()).find(({ pid }) => pid === worker.pid)!.inFlight
    process.kill(worker.pid, 'SIGKILL')
    kills++
    await until('it is replaced', async () => {
      const now = (await accounts.workers()).find(({ id }) => id === worker.id)!
      return now.pid !== worker.pid && now.accepting === 1
    })
  }
  isOver = true
  await load
  const served = (await accounts.settled(0)).requests
  const { begun, asked } = await calls(master.port())
  const { requests } = await accounts.settled(served + asked)
  const missing = begun + asked - requests
  t.diagnostic(`${mostKills} kills with ${inFlight} in flight, ${missing} of ${begun} requests missing`)
  // One more at each kill: it may hit the very store that counts, when the request is out of flight already.
  assert.ok(missing >= 0 && missing <= inFlight + mostKills, `${missing}, of ${inFlight} in flight`)
})

/** The whole answer, on a connection that is kept, as wrk keeps them. */
async function answer(port: number, path: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port }).setEncoding('latin1')
  let received = ''
  socket.on('data', (part: string) => {
    received += part
  })
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
  await until('it is there', () => received.includes('\r\n\r\n') && !received.endsWith('\r\n\r\n'))
  socket.destroy()
  return received
}

/** What the application itself says, once it says the same twice: how often /counted was called; and what the asking cost. */
async function calls(port: number): Promise<{ begun: number; asked: number; bytes: number }> {
  let asked = 0
  let bytes = 0
  let before = -1
  const begun = await until('nothing is left to serve', async () => {
    const said = await answer(port, '/calls')
    asked++
    bytes += said.length
    const now = said.split('\r\n\r\n')[1]!
    const isSame = Number(now) === before
    before = Number(now)
    return isSame && { now: before }
  })
  return { begun: begun.now, asked, bytes }
}
