// Clients that mean no good to the statistics server, in numbers, against a
// document that no socket holds. None of them may cost the master its duties, its
// memory, or a good client.
//
// UWSHM_FULL=1 brings a thousand of each kind, as promised; without it, 300 come to a
// master with so few descriptors that it lets in 64.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect, type NetConnectOpts } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { kinds } from '../apps/besiegers.ts'
import { app, folder, get, type Master, readAll, run, until } from '../harness.ts'

const [count, descriptors] = process.env.UWSHM_FULL ? [1000, 4096] : [300, 256]
/** A quarter of the descriptors is for clients. */
const mostClients = descriptors / 4
/** Where others use the machine too, only the best round tells about us. */
const asPromised = (numbers: number[]) => (process.env.UWSHM_FULL ? Math.max(...numbers) : Math.min(...numbers))

for (const name of Object.keys(kinds))
  test(`${count} clients that ${name}, and come again when dismissed, hurt nobody`, async (t) => {
    const http = /send|ask/.test(name)
    const address = name.endsWith('TCP') ? '127.0.0.1:0' : join(folder(t), 'stats.sock')
    // 8,192 cores are a document of 1.9 MB.
    const args = ['-p', '2', '--threads', '4096', '--http-socket', '127.0.0.1:0', '--stats', address]
    const master = await run(t, [...args, ...(http ? ['--stats-http'] : []), app('fetch.mjs')], {
      descriptors,
    }).serving(2)
    const where = await statsOf(master)
    const idle = residentOf(master.pid)
    const open = openFiles(master.pid)
    const calmRespawn = await respawnMs(master)

    const attack = besiege(t, where, name)
    let most = 0
    const watch = setInterval(() => {
      most = Math.max(most, residentOf(master.pid))
    }, 20)
    t.after(() => clearInterval(watch))
    await until('they are all there, or dismissed', async () => (await attack.met()) >= count)

    const begun = { at: performance.now(), cpu: cpuOf(master.pid) }
    const waits: number[] = []
    const respawns: number[] = []
    for (let round = 0; round < 12; round++) {
      waits.push(await answeredMs(where, http))
      if (round % 4 === 0) respawns.push(await respawnMs(master))
      await new Promise((resolve) => setTimeout(resolve, 100)) // the next document is another one
    }
    const cpu = (cpuOf(master.pid) - begun.cpu) / (performance.now() - begun.at)
    t.diagnostic(
      `${name}: answered in ${median(waits).toFixed(0)} ms (worst ${Math.max(...waits).toFixed(0)}), respawn in ` +
        `${median(respawns).toFixed(0)} ms (${calmRespawn.toFixed(0)} before), ${((most - idle) / 2 ** 20).toFixed(0)} MB ` +
        `over idle, ${(cpu * 100).toFixed(0)} % CPU, ${await attack.met()} connections`,
    )
    assert.ok(asPromised(waits) <= 100, `a good client waits: ${waits.map(Math.round).join(' ')} ms`)
    assert.ok(asPromised(respawns) <= calmRespawn + 50, `${respawns.join(' ')} ms, ${calmRespawn} ms without them`)
    assert.ok(most - idle <= 64 * 2 ** 20, `${(most - idle) / 2 ** 20} MB over idle`)
    assert.ok(openFiles(master.pid) <= open + mostClients + 10, 'the clients are bounded')

    clearInterval(watch)
    await attack.stayAway()
    await until('those who linger are dismissed', () => openFiles(master.pid) <= open)
  })

test('a client without end of things to say is hung up on', async (t) => {
  const path = join(folder(t), 'stats.sock')
  const args = ['--threads', '4096', '--http-socket', '127.0.0.1:0', '--stats', path, app('fetch.mjs')]
  await run(t, args).serving(1)
  const socket = connect({ path }).pause()
  const started = performance.now()
  await new Promise<void>((resolve) => {
    const talk = () => socket.write('x'.repeat(65536), (error) => (error ? resolve() : talk()))
    socket.on('error', () => {})
    talk()
  })
  assert.ok(performance.now() - started < 4000, 'before any deadline')
})

test('clients that ask again and again, in one breath, are hung up on before any deadline', async (t) => {
  const path = join(folder(t), 'stats.sock')
  const args = ['--threads', '512', '--http-socket', '127.0.0.1:0', '--stats', path, '--stats-http', app('fetch.mjs')]
  await run(t, args).serving(1)
  const breath = 'GET / HTTP/1.1\r\n\r\n'.repeat(3600)
  const dismissed = Array.from({ length: 30 }, async () => {
    const socket = connect({ path })
      .pause()
      .on('error', () => {})
    for (const end = Date.now() + 4000; !socket.destroyed; ) {
      assert.ok(Date.now() < end, 'it is hung up on')
      await new Promise((resolve) => socket.write(breath, resolve))
    }
  })
  await Promise.all(dismissed)
})

test('a client that takes slice after slice, slowly, gets all of the document', async (t) => {
  const path = join(folder(t), 'stats.sock')
  const args = ['-p', '2', '--threads', '4096', '--http-socket', '127.0.0.1:0', '--stats', path, app('fetch.mjs')]
  await run(t, args).serving(2)
  const socket = connect({ path })
  let text = ''
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part
    socket.pause()
    setTimeout(() => socket.resume(), 40)
  })
  await new Promise((resolve) => socket.on('end', resolve))
  assert.equal((JSON.parse(text) as { workers: unknown[] }).workers.length, 2)
})

/** `count` clients that come back when they are dismissed, until told to stay away. */
function besiege(t: TestContext, where: NetConnectOpts, name: string) {
  const clients = fork(app('besiegers.ts'), [JSON.stringify(where), String(count), name])
  const gone = once(clients, 'exit')
  t.after(async () => {
    clients.disconnect()
    await gone
  })
  const ask = async (what: string) => {
    clients.send(what)
    return ((await once(clients, 'message')) as [number])[0]
  }
  return { met: () => ask('how many'), stayAway: () => ask('stay away') }
}

async function statsOf(master: Master): Promise<{ host: string; port: number } | { path: string }> {
  const [, name] = await master.line(/Stats server enabled on (\S+)/)
  const port = name!.match(/:(\d+)$/)?.[1]
  return port === undefined ? { path: name! } : { host: '127.0.0.1', port: Number(port) }
}

async function answeredMs(where: NetConnectOpts & { path?: string }, http: boolean): Promise<number> {
  const asked = performance.now()
  const text = http ? (await get({ socketPath: where.path! })).body : await readAll(where)
  const took = performance.now() - asked
  assert.equal((JSON.parse(text) as { workers: unknown[] }).workers.length, 2)
  return took
}

/** From the kill of a worker to the master's word that another was started. */
async function respawnMs(master: Master): Promise<number> {
  const respawned = () => master.log.match(/Respawned uWSGI worker/g)?.length ?? 0
  const before = { respawned: respawned(), ready: master.pidsOfReady().length }
  process.kill(master.pidsOfReady().at(-1)!, 'SIGKILL')
  const killed = performance.now()
  await until('it is replaced', () => respawned() > before.respawned)
  const took = performance.now() - killed
  await master.serving(before.ready + 1)
  return took
}

function residentOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * 4096
}

/** Milliseconds of CPU it used. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/.*\) /s, '').split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

function median(numbers: number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
}
