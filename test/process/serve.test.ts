// A master and its workers from the outside: what a person sees who starts one.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { nodeReadsTypescript } from '../../src/typescript.ts'
import { app, folder, get, run } from '../harness.ts'

const cache = ['--cache2', 'name=default,items=100']
const anywhere = ['--http-socket', '127.0.0.1:0']

test('two workers serve one address and share one count', async (t) => {
  const master = await run(t, ['-p', '2', ...anywhere, ...cache, app('counter.mjs')]).serving(2)
  const seen = new Map<string, number>()
  for (let visit = 1; seen.size < 2 || visit <= 20; visit++) {
    assert.ok(visit < 2000, 'one worker got every request')
    const [pid, count] = (await get({ port: master.port() })).body.split(' ')
    assert.equal(Number(count), visit)
    seen.set(pid!, visit)
  }
  assert.deepEqual([...seen.keys()].map(Number).sort(), master.pidsOfReady().sort())
})

test('one application is served on several sockets at once, TCP and unix', async (t) => {
  const path = join(folder(t), 'http.sock')
  const sockets = [...anywhere, '--http-socket', path, '--http-socket', '[::1]:0']
  const master = await run(t, [...sockets, app('fetch.mjs')]).serving(1)
  for (const where of [{ port: master.port() }, { socketPath: path }, { host: '::1', port: master.port(2) }]) {
    const { body, headers } = await get({ ...where, path: '/a', method: 'PUT', body: 'b' })
    assert.equal(body, 'PUT /a b')
    assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2'])
  }
})

test('TypeScript runs where the application can have it run', async (t) => {
  const master = await run(t, [...anywhere, app('typed.ts')]).serving(1)
  assert.equal((await get({ port: master.port(), path: '/x' })).body, 'typed /x')
})

test('TypeScript without a way to run it is refused with the remedy', async (t) => {
  const path = join(folder(t), 'app.ts')
  writeFileSync(path, 'export default (_: unknown, response: { end(text: string): void }) => response.end("typed")')
  const master = run(t, [...anywhere, path])
  if (nodeReadsTypescript) {
    await master.serving(1)
    assert.equal((await get({ port: master.port() })).body, 'typed')
  } else {
    assert.equal((await master.ended).status, 1)
    assert.match(master.log, /uwshm: .*app\.ts is TypeScript .* npm install tsx beside it/)
  }
})

test('an application that listens at an address of the master gets its socket, in every worker', async (t) => {
  const path = join(folder(t), 'http.sock')
  const master = await run(t, ['-p', '3', '--http-socket', path, app('listens.mjs'), '--', path]).serving(3)
  const pids = new Set<string>()
  for (let i = 0; i < 2000 && pids.size < 3; i++) pids.add((await get({ socketPath: path })).body)
  assert.equal(pids.size, 3)
  assert.match(master.log, new RegExp(`listens at "${path}"`))
})

test('an application may listen late, and on every host where the master holds one', async (t) => {
  const probe = await run(t, [...anywhere, app('counter.mjs'), ...cache]).serving(1)
  const port = probe.port()
  probe.kill('SIGKILL')
  await probe.ended
  const socket = ['--http-socket', `127.0.0.1:${port}`]
  const master = await run(t, ['-p', '2', ...socket, app('listens.mjs'), '--', String(port), '200']).serving(2)
  assert.ok(master.pidsOfReady().includes(Number((await get({ port })).body)))
})

test('a single worker may listen where the master holds nothing', async (t) => {
  const path = join(folder(t), 'own.sock')
  await run(t, [app('listens.mjs'), '--', path]).serving(1)
  assert.match((await get({ socketPath: path })).body, /^\d+$/)
})

test('a second worker that listens by itself is told about --http-socket', async (t) => {
  const path = join(folder(t), 'own.sock')
  const master = run(t, ['-p', '2', app('listens.mjs'), '--', path])
  assert.equal((await master.ended).status, 1)
  assert.match(master.log, /listens on .*own\.sock itself, and that is taken; .* --http-socket .*own\.sock/)
})
