// SIGTSTP: what runs is finished, who comes waits in the kernel, and a second one
// goes on with them.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Answer, app, folder, get, isAlive, type Master, run, until } from '../harness.ts'

const paused =
  /^\w{3} \w{3} \d\d [\d:]{8} \d{4} - \*\*\* PAUSE \(press start to resume, if you do not have a joypad send SIGTSTP\) \*\*\*$/gm
const resuming = /^\w{3} \w{3} \d\d [\d:]{8} \d{4} - \*\*\* \(SIGTSTP received\) resuming workers \*\*\*$/gm

/** A master whose requests run until `finish` is called, at a unix socket. */
async function slow(t: TestContext, ...args: string[]) {
  const place = folder(t)
  const go = join(place, 'go')
  const http = join(place, 'http.sock')
  const sockets = ['--http-socket', http, '--stats', join(place, 'stats.sock')]
  const master = await run(t, ['-p', '2', ...sockets, ...args, app('slow.mjs'), '--', go]).serving(2)
  const begun = () => (existsSync(`${go}.running`) ? readFileSync(`${go}.running`).length : 0)
  return {
    master,
    http,
    running: (count: number) => until(`${count} requests run`, () => begun() === count),
    finish: () => writeFileSync(go, ''),
  }
}

async function statuses(master: Master) {
  return (await master.stats()).workers.map(({ status }) => status).sort()
}

/** Sends SIGTSTP and waits until every worker knows, and those that have nothing to do are suspended. */
async function pause(master: Master, idle = 2) {
  const before = suspensions(master)
  master.kill('SIGTSTP')
  await until('the idle are suspended', () => suspensions(master) === before + idle)
  const [, path] = master.log.match(/bound to UNIX address (\S+)/)!
  const pids = master.pidsOfReady().filter(isAlive)
  await until('no event loop looks at the socket', () => !pids.some((pid) => looksAt(pid, path!)))
}

/** Does an epoll of that process have the listening socket? */
function looksAt(pid: number, path: string): boolean {
  const rows = readFileSync('/proc/net/unix', 'utf8').split('\n')
  const listening = rows.map((row) => row.split(/\s+/)).find((row) => row[3] === '00010000' && row[7] === path)!
  const fds = readdirSync(`/proc/${pid}/fd`).map((fd): [string, string] => [fd, linkOf(`/proc/${pid}/fd/${fd}`)])
  const ours = fds.filter(([, link]) => link === `socket:[${listening[6]}]`).map(([fd]) => fd)
  const polls = fds.filter(([, link]) => link === 'anon_inode:[eventpoll]')
  const watched = polls.map(([fd]) => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')).join('')
  return ours.some((fd) => new RegExp(`^tfd: +${fd} `, 'm').test(watched))
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return '' // closed meanwhile
  }
}

async function resume(master: Master, workers = 2) {
  const resumed = () => count(master, /\*\*\* worker \d resumed \*\*\*$/gm)
  const before = resumed()
  master.kill('SIGTSTP')
  await until('they are resumed', () => resumed() === before + workers)
}

function suspensions(master: Master) {
  return count(master, /\*\*\* worker \d suspended \*\*\*$/gm)
}

function count({ log }: { log: string }, pattern: RegExp) {
  return log.match(pattern)?.length ?? 0
}

/** Requests that nobody has accepted. */
async function waiting(master: Master, connections: number) {
  await until(`${connections} wait in the kernel`, async () => {
    const [socket] = (await master.stats()).sockets as unknown as { queue: number }[]
    return socket!.queue === connections
  })
}

/** Bytes of an answer on a connection of one's own. */
function raw(path: string, t: TestContext) {
  const socket = connect({ path })
  t.after(() => socket.destroy())
  const talk = { socket, text: '', hasEnded: false }
  socket.on('error', () => {})
  socket.setEncoding('utf8').on('data', (part: string) => {
    talk.text += part
  })
  socket.on('close', () => {
    talk.hasEnded = true
  })
  return talk
}

test('a pause lets what runs finish and what comes wait; the next SIGTSTP has it answered', async (t) => {
  const { master, http, running, finish } = await slow(t)
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const old = get({ socketPath: http, agent })
  await running(1)
  await pause(master, 1)
  await until('the statistics tell', async () => (await statuses(master)).join() === 'busy,pause')

  const answered: Answer[] = []
  const quick = { socketPath: http, path: '/quick', agent }
  const fresh = Promise.all([1, 2, 3].map(async () => answered.push(await get(quick))))
  await waiting(master, 3)
  finish()
  const { body, headers } = await old
  assert.deepEqual([body, headers.connection], ['done', 'close'])
  await until('both are suspended', () => suspensions(master) === 2)
  await until('the statistics tell', async () => (await statuses(master)).join() === 'pause,pause')
  // It accepts as before, as far as the statistics go: so does uWSGI.
  assert.deepEqual(
    (await master.stats()).workers.map(({ accepting }) => accepting),
    [1, 1],
  )
  await waiting(master, 3)
  assert.equal(answered.length, 0)

  await resume(master)
  await fresh
  assert.deepEqual(
    answered.map((answer) => [answer.body, answer.headers.connection]),
    Array(3).fill(['quick', 'keep-alive']),
  )
  await until('the statistics tell', async () => (await statuses(master)).join() === 'idle,idle')
  assert.match(
    master.log.slice(master.log.search(paused)).replace(/^\w{3} \w{3} \d\d [\d:]{8} \d{4} - /gm, ''),
    /^\*\*\* PAUSE .*\n\*\*\* worker (\d) suspended \*\*\*\n\*\*\* worker (\d) suspended \*\*\*\n\*\*\* \(SIGTSTP received\) resuming workers \*\*\*\n(\*\*\* worker \d resumed \*\*\*\n){2}$/,
  )
})

test('connections that are kept alive end at the pause, also those whose answer was begun', async (t) => {
  const { master, http, running, finish } = await slow(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 3 })
  t.after(() => agent.destroy())
  const open = () => Object.values(agent.sockets).flat().length + Object.values(agent.freeSockets).flat().length
  await get({ socketPath: http, path: '/quick', agent })
  const begun = get({ socketPath: http, path: '/begun', agent }) // on the one that was kept
  await running(1)
  const other = raw(http, t)
  other.socket.write('GET /quick HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(
    'it is answered and kept',
    () => other.text.endsWith('quick\r\n0\r\n\r\n') || other.text.endsWith('quick'),
  )
  assert.match(other.text, /connection: keep-alive/i)

  const kept = performance.now()
  await pause(master, 1)
  await until('the idle one is closed', () => other.hasEnded)
  finish()
  const answer = await begun
  assert.deepEqual([answer.body, answer.headers.connection], ['begun done', 'keep-alive'])
  await until('its connection is closed all the same', () => open() === 0)
  assert.ok(performance.now() - kept < 4000, 'Node closes what is idle after five seconds')
  await until('both are suspended', () => suspensions(master) === 2)
})

test('a connection that was accepted is served within the pause, and ends with that', async (t) => {
  const { master, http } = await slow(t)
  const early = raw(http, t)
  early.socket.write('GET /quick HT')
  await until('it is connected', () => !early.socket.connecting)
  await waiting(master, 0)
  await pause(master)
  early.socket.write('TP/1.1\r\nhost: a\r\n\r\n')
  await until('it is answered and closed', () => early.hasEnded)
  assert.match(early.text, /^HTTP\/1\.1 200 OK\r\n(.*\r\n)*connection: close\r\n/i)
  assert.match(early.text, /quick/)
  assert.equal(suspensions(master), 2, 'it is told once')
})

test('workers that start within the pause are paused, and take none of those who wait', async (t) => {
  const { master, http } = await slow(t)
  await pause(master)
  const answers = [1, 2, 3, 4].map(() => get({ socketPath: http, path: '/quick' }))
  await waiting(master, 4)
  for (const pid of master.pidsOfReady()) process.kill(pid, 'SIGKILL')
  await master.serving(4)
  await until('the new ones are suspended', () => suspensions(master) === 4)
  // Twice, for they look at their sockets in the turn that follows.
  for (let turn = 0; turn < 2; turn++) {
    await waiting(master, 4)
    assert.deepEqual(await statuses(master), ['pause', 'pause'])
    for (const pid of master.pidsOfReady().slice(2)) assert.ok(isAlive(pid))
  }
  await resume(master)
  for (const answer of answers) assert.equal((await answer).body, 'quick')
  for (let i = 0; i < 8; i++) assert.equal((await get({ socketPath: http, path: '/quick' })).body, 'quick')
})

test('a paused group stops gracefully: what runs is finished', async (t) => {
  const { master, http, running, finish } = await slow(t)
  const old = get({ socketPath: http })
  await running(1)
  await pause(master, 1)
  const late = get({ socketPath: http, path: '/quick' }).catch((error: NodeJS.ErrnoException) => error.code)
  await waiting(master, 1)
  master.kill('SIGTERM')
  await master.line(/killing workers/)
  master.kill('SIGTSTP') // too late to be of any meaning
  finish()
  assert.equal((await old).body, 'done')
  assert.equal(await late, 'ECONNRESET')
  assert.deepEqual(await master.ended, { status: 0, signal: null })
  assert.deepEqual([count(master, paused), count(master, resuming)], [1, 0])
})

test('many a pause later every worker still serves', async (t) => {
  const { master, http } = await slow(t)
  for (let round = 0; round < 10; round++) {
    await pause(master)
    const answer = get({ socketPath: http, path: '/quick' })
    await waiting(master, 1)
    await resume(master)
    assert.equal((await answer).body, 'quick')
  }
  const stats = await until('each has served', async () => {
    await get({ socketPath: http, path: '/quick' })
    const now = await master.stats()
    return now.workers.every(({ requests }) => requests > 0) && now
  })
  assert.equal(stats.workers.length, 2)
})

test('an application that listens by itself is paused in the same way', async (t) => {
  const place = folder(t)
  const [http, stats] = [join(place, 'http.sock'), join(place, 'stats.sock')]
  const own = ['--http-socket', http, '--stats', stats, app('listens.mjs'), '--', http]
  const master = await run(t, own).serving(1)
  await pause(master, 1)
  const answer = get({ socketPath: http })
  await waiting(master, 1)
  await resume(master, 1)
  assert.equal((await answer).status, 200)
})

test('the master killed within the pause takes its workers along', async (t) => {
  const { master } = await slow(t)
  await pause(master)
  master.kill('SIGKILL')
  await until('no worker is left', () => master.pidsOfReady().every((pid) => !isAlive(pid)))
})

test("a terminal's Ctrl-Z stops no process, and pauses once, also while a worker starts", async (t) => {
  const http = join(folder(t), 'http.sock')
  const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
  // A group within our session: to one that nobody could wake the kernel does not do what Ctrl-Z does to others.
  const inGroup = ['-e', 'setpgrp(0, 0); exec @ARGV', process.execPath, cli, '-p', '2', '--http-socket', http]
  const child = spawn('perl', [...inGroup, app('fetch.mjs')], { stdio: ['ignore', 'pipe', 'pipe'] })
  const group = child.pid!
  t.after(() => process.kill(-group, 'SIGKILL'))
  const terminal = { log: '' }
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      terminal.log += text
    })
  const ready = () => [...terminal.log.matchAll(/ready in .* \(pid: (\d+)\)/g)].map(([, worker]) => Number(worker))
  await until('both serve', () => ready().length === 2)

  process.kill(-group, 'SIGTSTP')
  await until('both are suspended', () => count(terminal, /worker \d suspended/g) === 2)
  process.kill(-group, 'SIGTSTP')
  await until('both are resumed', () => count(terminal, /worker \d resumed/g) === 2)
  assert.equal((await get({ socketPath: http })).status, 200)

  process.kill(ready()[0]!, 'SIGKILL')
  await until('another one starts', () => terminal.log.includes('Respawned'))
  process.kill(-group, 'SIGTSTP')
  await until('the new one is suspended, too', () => count(terminal, /worker \d suspended/g) === 4)
  assert.deepEqual([count(terminal, paused), count(terminal, resuming)], [2, 1])
  assert.deepEqual(stoppedIn(group), [])
})

/** Pids of a process group that are stopped. */
function stoppedIn(group: number): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const [, state, , pgrp] = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, ')').split(' ')
      return Number(pgrp) === group && state === 'T'
    } catch {
      return false // gone meanwhile
    }
  })
}
