// The part of the `uwsgi` object that is about the group: what a worker learns of it
// and of itself, and its ways to end it or to write its log.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { create, uwsgi, type Worker } from 'uwshm'
import { app, folder, get, type Master, run, until } from '../harness.ts'

const evaluates = app('evaluates.mjs')
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

/** What `expression` is in a worker of that master. */
async function ask<T>(master: Master, expression: string, where: { socketPath?: string } = {}): Promise<T> {
  const at = where.socketPath === undefined ? { port: master.port() } : where
  const { status, body } = await get({ ...at, path: `/${encodeURIComponent(expression)}` })
  assert.equal(status, 200, body)
  return JSON.parse(body) as T
}

function start(t: TestContext, ...args: string[]) {
  return run(t, ['--http-socket', '127.0.0.1:0', ...args, evaluates])
}

// As uWSGI 2.0.21 printed it, from `uwsgi.workers()` in its Python plugin. Left out: `interpreter` and `callable` of an
// application, which are addresses in its memory. Bytes are text here.
const printed = {
  id: 1,
  pid: 4759,
  requests: 1,
  delta_requests: 1,
  signals: 0,
  exceptions: 0,
  status: 'busy',
  rss: 11448320,
  vsz: 60928000,
  running_time: 291,
  last_spawn: 1795266974,
  respawn_count: 0,
  tx: 70,
  avg_rt: 145,
  apps: [{ id: 0, modifier1: 0, mountpoint: '', startup_time: 0, requests: 2, exceptions: 0, chdir: '' }],
}

test('workers() has the keys of uWSGI in their order, with values of their types', async (t) => {
  const master = await start(t, '-p', '2').serving(2)
  const rows = await ask<Worker[]>(master, 'uwsgi.workers()')
  const shape = (value: unknown): string =>
    inspect(value, { depth: 9, breakLength: Infinity })
      .replace(/'[a-z]*'/g, 'text')
      .replace(/\d+/g, 'number')
  for (const row of rows) assert.equal(shape(row), shape(printed))
  assert.deepEqual(
    rows.map(({ id, pid }) => [id, pid]).sort(),
    master
      .pidsOfReady()
      .map((pid) => [rows.find((row) => row.pid === pid)?.id, pid])
      .sort(),
  )
  // One asks, and is busy with that.
  assert.deepEqual(rows.map(({ status }) => status).sort(), ['busy', 'idle'])
  for (const { rss, vsz } of rows) assert.ok(rss > 20e6 && vsz > rss, `${rss} ${vsz}`)
})

test('workers() tells of the dead, and that one was started again', async (t) => {
  const master = await start(t, '-p', '2', '--stats', '127.0.0.1:0').serving(2)
  const [{ id, pid }] = (await ask<Worker[]>(master, 'uwsgi.workers()')).filter(({ status }) => status === 'idle') as [
    Worker,
  ]
  process.kill(pid, 'SIGKILL')
  const row = await until('it is started again', async () => {
    const rows = await ask<Worker[]>(master, 'uwsgi.workers()')
    return rows[id - 1]!.respawn_count === 1 && rows[id - 1]!.apps.length === 1 && rows[id - 1]
  })
  assert.notEqual(row.pid, pid)
  // As in uWSGI the statistics count the first start, too.
  assert.equal((await master.stats()).workers[id - 1]!.respawn_count, 2)
})

test('requests are counted over all workers, and numbered within one', async (t) => {
  const master = await start(t).serving(1)
  for (let count = 0; count < 3; count++)
    assert.deepEqual(await ask(master, '[uwsgi.totalRequests(), uwsgi.requestId()]'), [count, count])

  // Several at a time: each begins with a number of its own, and the ones that run are not yet counted.
  const hold =
    '(async () => { const id = uwsgi.requestId(); await new Promise((go) => setTimeout(go, 100)); return id })()'
  const ids = await Promise.all([1, 2, 3, 4].map(() => ask<number>(master, hold)))
  assert.deepEqual(ids.sort(), [3, 4, 5, 6])

  const [pid] = master.pidsOfReady()
  process.kill(pid!, 'SIGKILL')
  await master.serving(2)
  // What it counted outlives it.
  assert.deepEqual(await ask(master, '[uwsgi.totalRequests(), uwsgi.requestId()]'), [7, 7])
})

test('a worker knows its id, its master, its start, the number of workers and the version', async (t) => {
  const before = Math.floor(Date.now() / 1000)
  const master = await start(t, '-p', '3').serving(3)
  const facts = await ask<number[]>(
    master,
    '[uwsgi.masterpid(), uwsgi.numproc, uwsgi.version, uwsgi.startedOn, uwsgi.workerId(), process.pid]',
  )
  const [masterpid, numproc, theVersion, startedOn, id, pid] = facts
  assert.deepEqual([masterpid, numproc, theVersion], [master.pid, 3, version])
  assert.ok(startedOn! >= before && startedOn! <= Date.now() / 1000)
  assert.match(master.log, new RegExp(`spawned uWSGI worker ${id} \\(pid: ${pid}, cores: 8\\)`))
})

test('opt is what the operator wrote, frozen', async (t) => {
  const options = ['--workers', '1', '-M', '--cache2', 'name=a,items=10', '--cache2=name=b,items=5', '--die-on-term']
  const master = await start(t, ...options).serving(1)
  assert.deepEqual(await ask(master, 'uwsgi.opt'), {
    'http-socket': ['127.0.0.1:0'],
    workers: '1',
    master: true,
    cache2: ['name=a,items=10', 'name=b,items=5'],
    'die-on-term': true,
  })
  for (const change of ['uwsgi.opt.master = 1', 'uwsgi.opt.cache2.push("c")'])
    assert.match((await get({ port: master.port(), path: `/${encodeURIComponent(change)}` })).body, /^TypeError/)
})

test('listenQueue counts the connections that wait in the kernel', async (t) => {
  const path = join(folder(t), 'second.sock')
  const master = await start(t, '--http-socket', path).serving(1)
  const where = { socketPath: path }
  assert.equal(await ask(master, 'uwsgi.listenQueue()', where), 0)
  assert.equal(await ask(master, 'uwsgi.listenQueue(1)'), 0)
  const wrong = await get({ port: master.port(), path: '/uwsgi.listenQueue(5)' })
  assert.equal(
    wrong.body,
    'UNKNOWN_SOCKET: no listening socket 5 in this process; its master gave it 2, see --http-socket',
  )

  // A worker that does not turn accepts nobody, so the asking itself waits for the others.
  const busy = `(() => {
    require('node:fs').writeFileSync(${JSON.stringify(`${path}.busy`)}, '')
    while (!require('node:fs').existsSync(${JSON.stringify(`${path}.go`)}));
    return [uwsgi.listenQueue(0), uwsgi.listenQueue(1)]
  })()`.replaceAll('require(', 'process.getBuiltinModule(')
  const waiting = ask<number[]>(master, busy)
  await until('it is busy', () => statSync(`${path}.busy`, { throwIfNoEntry: false }) !== undefined)
  const clients = [connect(master.port(), '127.0.0.1'), connect({ path }), connect({ path })]
  for (const client of clients) client.on('error', () => {}) // reset, when the worker ends
  await Promise.all(clients.map((client) => new Promise((resolve) => client.once('connect', resolve))))
  closeSync(openSync(`${path}.go`, 'w'))
  assert.deepEqual(await waiting, [1, 2])
})

test('mem is the memory of the asking process', async (t) => {
  const master = await start(t).serving(1)
  const [rss, vsz] = await ask<number[]>(master, 'uwsgi.mem()')
  const status = readFileSync(`/proc/${master.pidsOfReady()[0]}/status`, 'utf8')
  const kilobytes = (name: string) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))![1])
  assert.ok(Math.abs(rss! / 1024 / kilobytes('VmRSS') - 1) < 0.2, `${rss} ${status}`)
  assert.ok(Math.abs(vsz! / 1024 / kilobytes('VmSize') - 1) < 0.2, `${vsz} ${status}`)
})

test('log writes one line, whatever the text is', async (t) => {
  const master = await start(t).serving(1)
  const texts = ['plain', 'ends\\n', 'é\\ttab', 'forged\\nspawned uWSGI worker 9\\r\\u001b[31m\\u0085\\u2028\\u0000']
  for (const text of texts) assert.equal(await ask(master, `uwsgi.log('${text}')`), true)
  await master.line(/^plain\nends\né\ttab\nforged\\nspawned uWSGI worker 9\\r\\u001b\[31m\\u0085\\u2028\\u0000\n/m)
  assert.match(
    (await get({ port: master.port(), path: '/uwsgi.log(1)' })).body,
    /^TypeError: uwsgi\.log takes a string/,
  )
})

test('logsize is the size of a log that is a file', async (t) => {
  const place = folder(t)
  const path = join(place, 'log')
  const log = openSync(path, 'w')
  const socket = join(place, 'http.sock')
  const code = "import('uwshm').then(({ uwsgi }) => console.log(uwsgi.logsize()))"
  const cwd = join(import.meta.dirname, '../..')
  const size = () =>
    spawnSync(process.execPath, ['-e', code], { cwd, stdio: ['ignore', 'pipe', log] }).stdout.toString()
  assert.equal(size(), '0\n')
  spawnSync('sh', ['-c', 'printf 12345 >&2'], { stdio: ['ignore', 'ignore', log] })
  assert.equal(size(), '5\n')
  closeSync(log)
  const master = await run(t, ['--http-socket', socket, evaluates]).serving(1)
  assert.equal(await ask(master, 'uwsgi.logsize()', { socketPath: socket }), 0, 'a pipe has no size')
})

test('stop ends the instance as SIGTERM to the master does: what runs is finished', async (t) => {
  const master = await start(t, '-p', '2').serving(2)
  const stop =
    '(async () => { const stopped = uwsgi.stop(); await new Promise((go) => setTimeout(go, 200)); return stopped })()'
  assert.equal(await ask(master, stop), true)
  assert.deepEqual(await master.ended, { status: 0, signal: null })
  assert.match(master.log, /SIGINT\/SIGTERM received\.\.\.killing workers/)
  assert.match(master.log, /goodbye to uWSGI\.\n$/)
})

test('without a master each says how to start one, and looking at the object does not', () => {
  const program = `import('uwshm').then(({ uwsgi }) => {
    console.log(Object.keys(uwsgi).length > 20, uwsgi.version, uwsgi.mem().length, uwsgi.log('x'))
    const calls = ['workers', 'totalRequests', 'masterpid', 'workerId', 'requestId', 'listenQueue', 'stop']
    const seen = calls.map((name) => () => uwsgi[name]()).concat(
      ['startedOn', 'numproc', 'opt'].map((name) => () => uwsgi[name])).map((call) => {
        try { return call() } catch (error) { return error.code }
      })
    console.log([...new Set(seen)].join())
  })`
  const { stdout } = spawnSync(process.execPath, ['-e', program], {
    cwd: join(import.meta.dirname, '../..'),
    encoding: 'utf8',
    env: { ...process.env, UWSHM_ATTACH: undefined, UWSHM_OPT: undefined },
  })
  assert.equal(stdout, `true ${version} 2 true\nNOT_ATTACHED\n`)
})

test('a program that called create() and its children have what there is', () => {
  create({ processes: 2, cache2: ['name=pages,items=100', { name: 'x,y', items: 5 }], maxProcesses: 8, stats: '@s' })
  const opt = {
    processes: '2',
    cache2: ['name=pages,items=100', 'name=x\\,y,items=5'],
    maxProcesses: '8',
    stats: '@s',
  }
  assert.deepEqual(uwsgi.opt, opt)
  assert.deepEqual([uwsgi.masterpid(), uwsgi.workerId(), uwsgi.requestId(), uwsgi.numproc], [process.pid, 0, 0, 2])
  assert.deepEqual(
    uwsgi.workers().map(({ id, pid, status, apps }) => [id, pid, status, apps.length]),
    [
      [1, 0, 'cheap', 0],
      [2, 0, 'cheap', 0],
    ],
  )
  assert.throws(() => uwsgi.listenQueue(), { code: 'UNKNOWN_SOCKET' })
  const code = `import('uwshm').then(({ uwsgi }) =>
    console.log(JSON.stringify([uwsgi.opt, uwsgi.masterpid(), uwsgi.workerId(), uwsgi.startedOn])))`
  const child = spawnSync(process.execPath, ['-e', code], { cwd: join(import.meta.dirname, '../..'), encoding: 'utf8' })
  assert.deepEqual(JSON.parse(child.stdout), [opt, process.pid, 0, uwsgi.startedOn], child.stderr)
})

test('a child learns whether its master is still there before it stops it', async () => {
  // The program in the middle makes a group and is killed; its child is left with the environment.
  const root = join(import.meta.dirname, '../..')
  const orphan = `import('uwshm').then(({ uwsgi }) => {
    uwsgi.masterpid()
    process.once('SIGUSR1', () => { console.log(uwsgi.stop()); process.exit() })
    console.log('in', process.pid)
    setInterval(() => {}, 1000)
  })`
  const middle = `import('uwshm').then(({ create }) => {
    create()
    process.getBuiltinModule('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(orphan)}], { stdio: 'inherit' })
  })`
  const { spawn } = await import('node:child_process')
  const env = { ...process.env, UWSHM_ATTACH: undefined, UWSHM_OPT: undefined }
  const child = spawn(process.execPath, ['-e', middle], { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] })
  let told = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    told += text
  })
  const [, pid] = await until('the orphan is in', () => told.match(/in (\d+)/))
  child.kill('SIGKILL')
  await until('its master is dead', () => child.signalCode !== null)
  process.kill(Number(pid), 'SIGUSR1')
  await until('it was told', () => /in \d+\nfalse\n/.test(told))
})

test('a second copy of the package inside a worker is the same worker', async (t) => {
  const master = await start(t, '-p', '2').serving(2)
  const { cpSync, mkdirSync, symlinkSync } = await import('node:fs')
  const place = folder(t)
  const root = join(import.meta.dirname, '../..')
  mkdirSync(join(place, 'node_modules'))
  symlinkSync(join(root, 'node_modules/node-gyp-build'), join(place, 'node_modules/node-gyp-build'))
  for (const part of ['dist', 'prebuilds', 'package.json'])
    cpSync(join(root, part), join(place, part), { recursive: true })
  const copy = JSON.stringify(join(place, 'dist/index.js'))
  const [same, id, own, queue] = await ask<[boolean, number, number, number]>(
    master,
    `import(${copy}).then(({ uwsgi: other }) => [other === uwsgi, other.workerId(), uwsgi.workerId(), other.listenQueue()])`,
  )
  assert.deepEqual([same, id, queue], [false, own, 0])
})
