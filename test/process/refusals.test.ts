// What is wrong ends at once with one sentence and status 1, and nothing stays.

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { app, folder, processesWith, run } from '../harness.ts'

const anywhere = ['--http-socket', '127.0.0.1:0']

const wrong: [what: string, args: string[], sentence: RegExp][] = [
  [
    'an unknown option',
    ['--prcesses', '2', app('counter.mjs')],
    /unknown option --prcesses; did you mean --processes\?/,
  ],
  ['a malformed number', ['-p', 'two', app('counter.mjs')], /-p: 'two' is not a whole number/],
  [
    'an unknown key of a cache',
    ['--cache2', 'name=a,items=1,size=3', app('counter.mjs')],
    /--cache2: unknown key size/,
  ],
  ['no application', anywhere, /no application named/],
  ['a missing file', [...anywhere, '/nowhere/app.ts'], /no application at \/nowhere\/app\.ts/],
  ['a folder for an application', [...anywhere, '/tmp'], /no application at \/tmp/],
  ['a missing directory', ['--chdir', '/nowhere', app('counter.mjs')], /--chdir \/nowhere: ENOENT/],
  [
    'an unknown lock engine',
    ['--lock-engine', 'paper', app('counter.mjs')],
    /no lock engine named paper; known: pthread, ipcsem, posixsem, futex/,
  ],
  [
    'a missing --ftok',
    ['--lock-engine', 'ipcsem', '--ftok', '/nowhere/key', app('counter.mjs')],
    /--ftok \/nowhere\/key: ENOENT; name a file that exists/,
  ],
  [
    'persistence that nobody would find',
    ['--lock-engine', 'ipcsem', '--persistent-ipcsem', app('counter.mjs')],
    /--persistent-ipcsem: on is not possible without --ftok/,
  ],
  [
    'an address of another machine',
    ['--http-socket', '192.0.2.1:80', app('counter.mjs')],
    /cannot listen on 192\.0\.2\.1:80: .*EADDRNOTAVAIL/,
  ],
  [
    'a host that does not exist',
    ['--http-socket', 'no.host.invalid:80', app('counter.mjs')],
    /cannot listen on no\.host\.invalid:80/,
  ],
  [
    'a unix socket in no folder',
    ['--http-socket', '/nowhere/a.sock', app('counter.mjs')],
    /cannot listen on \/nowhere\/a\.sock: .*ENOENT/,
  ],
  [
    'more memory than there is',
    ['--cache2', 'name=a,items=1g,blocksize=1g'.replace('1g', '1000000000'), app('counter.mjs')],
    /cache a needs \d+ bytes and this machine has \d+/,
  ],
]

for (const [what, args, sentence] of wrong)
  test(`${what} is refused in one sentence`, async (t) => {
    const master = run(t, args)
    assert.deepEqual(await master.ended, { status: 1, signal: null }, master.log)
    const said = master.log.split('\n').filter((line) => line.startsWith('uwshm: '))
    assert.equal(said.length, 1, master.log)
    assert.match(said[0]!, sentence)
    assert.doesNotMatch(master.log, /spawned| {4}at /)
  })

test('a port that another program has is refused', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  for (const option of ['--http-socket', '--stats']) {
    const master = run(t, [option, `127.0.0.1:${port}`, app('counter.mjs')])
    assert.equal((await master.ended).status, 1)
    assert.match(master.log, new RegExp(`cannot listen on 127.0.0.1:${port}: another program does`))
  }
})

test('a unix socket that another program answers at, or a file, is left alone', async (t) => {
  const path = join(folder(t), 'taken')
  const server = createServer().listen(path)
  await new Promise((resolve) => server.once('listening', resolve))
  const master = run(t, ['--http-socket', path, app('counter.mjs')])
  assert.equal((await master.ended).status, 1)
  assert.match(master.log, /another program does/)
  await new Promise((resolve) => server.close(resolve))

  const file = join(folder(t), 'file')
  writeFileSync(file, 'precious')
  const second = run(t, ['--http-socket', file, app('counter.mjs')])
  assert.equal((await second.ended).status, 1)
  assert.match(second.log, /another program does/)
})

test('an application that throws while it is loaded ends the master, its stack printed once', async (t) => {
  const mark = `throws-${process.pid}`
  const master = run(t, ['-p', '3', ...anywhere, app('throws.mjs'), '--', mark])
  assert.deepEqual(await master.ended, { status: 1, signal: null })
  assert.equal(master.log.match(/Error: no database today/g)?.length, 1, master.log)
  assert.match(master.log, /throws\.mjs:1/)
  assert.deepEqual(processesWith(mark), [])
})

test('an application that exports nothing and does not listen is told what to do', async (t) => {
  const master = run(t, [...anywhere, app('nothing.mjs')])
  assert.equal((await master.ended).status, 1)
  assert.match(master.log, /exports no application as its default and calls no listen\(\); export a/)
})

test('an exported application without an address is told about --http-socket', async (t) => {
  const master = run(t, [app('counter.mjs')])
  assert.equal((await master.ended).status, 1)
  assert.match(master.log, /there is no address to serve it at; add --http-socket :8080/)
})

test('when a later address fails the socket files of the earlier ones are removed', async (t) => {
  const path = folder(t)
  mkdirSync(join(path, 'empty'))
  const master = run(t, ['--http-socket', join(path, 'empty', 'a.sock'), '--stats', '/nowhere/s', app('counter.mjs')])
  assert.equal((await master.ended).status, 1)
  const again = await run(t, ['--http-socket', join(path, 'empty', 'a.sock'), app('fetch.mjs')]).serving(1)
  assert.ok(!again.hasEnded)
})

test('--help, --version and --alarm-list answer and start nothing', async (t) => {
  const help = run(t, ['--help'])
  assert.equal((await help.ended).status, 0)
  assert.match(help.log, /^uwshm \[options\] app\.ts/)
  const version = run(t, ['--version'])
  assert.equal((await version.ended).status, 0)
  assert.match(version.log, /^\d+\.\d+\.\d+\n$/)
  const alarms = run(t, ['--alarm-list'])
  assert.equal((await alarms.ended).status, 0)
  assert.match(alarms.log, /^\n\*\*\* uWSGI loaded alarms \*\*\*\nlog:\[PREFIX\] /)
})
