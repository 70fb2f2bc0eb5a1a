// How other processes find the memory of a process that called create(), and
// what they are told when what they find is not it.

import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { create, UwsgiError, uwsgi } from 'uwshm'
import { native } from '../../dist/native.js'
import { app, get, run } from '../harness.ts'

const before = process.env.UWSHM_ATTACH
create({ cache2: ['name=pages,items=100,blocksize=64'], maxProcesses: 4 })
const environment = process.env.UWSHM_ATTACH!
const package_ = new URL('../../dist/index.js', import.meta.url).href

/** Runs `code` in another process; `uwsgi` is there, and errors go to stdout by their code. */
function child(
  code: string,
  env: Record<string, string | undefined> = {},
  prefix: string[] = [],
): SpawnSyncReturns<string> {
  const program = `import(${JSON.stringify(package_)}).then(({ uwsgi, create }) => { ${code} })
    .catch((error) => console.log(error.code, error.message))`
  const [command, ...args] = [...prefix, process.execPath, '-e', program]
  return spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, ...env } })
}

test('a child attaches at its first call and shares the cache', () => {
  assert.equal(before, undefined)
  uwsgi.cacheSet('greeting', 'hello')
  const { stdout } = child(`console.log(uwsgi.cacheGet('greeting').toString(), uwsgi.cacheInc('children'))`)
  assert.equal(stdout, 'hello 1\n')
  assert.equal(uwsgi.cacheNum('children'), 1)
})

test('a child that an application starts shares what its worker has', async (t) => {
  const master = await run(t, [
    '--http-socket',
    '127.0.0.1:0',
    '--cache2',
    'name=n,items=10',
    app('parent.mjs'),
  ]).serving(1)
  assert.equal((await get({ port: master.port() })).body, '2')
})

test('node:cluster workers of a process that called create() share one counter', () => {
  const program = fileURLToPath(new URL('../apps/cluster.mjs', import.meta.url))
  const { stdout, stderr } = spawnSync(process.execPath, [program], {
    encoding: 'utf8',
    env: { ...process.env, UWSHM_ATTACH: undefined },
  })
  assert.equal(stdout, '3000\n', stderr)
})

test('without a master the first call says how to start, the import does not', () => {
  const { stdout } = child(`console.log('imported'); uwsgi.cacheGet('k')`, { UWSHM_ATTACH: undefined })
  assert.match(stdout, /^imported\nNOT_ATTACHED no uwshm master here: start the application with/)
})

test('a broken or strange environment is refused', () => {
  assert.match(child(`uwsgi.cacheGet('k')`, { UWSHM_ATTACH: 'nonsense' }).stdout, /^NOT_ATTACHED /)
  const [id, places] = environment.split('@') as [string, string]
  const strange = [...id].reverse().join('')
  assert.match(
    child(`uwsgi.cacheGet('k')`, { UWSHM_ATTACH: `${strange}@${places}` }).stdout,
    /^SEGMENT_FOREIGN the root segment/,
  )
  assert.match(
    child(`uwsgi.cacheGet('k')`, { UWSHM_ATTACH: `${id}@/proc/1/fd:990,991,992` }).stdout,
    /^SEGMENT_FOREIGN /,
  )
  // Descriptors of another kind, in another order, too few.
  const [folder, fds] = places.split(':') as [string, string]
  const [root, locks, cache] = fds.split(',') as [string, string, string]
  for (const wrong of [`${locks},${root},${cache}`, `${root},${cache},${locks}`, `${root}`])
    assert.match(
      child(`uwsgi.cacheGet('k')`, { UWSHM_ATTACH: `${id}@${folder}:${wrong}` }).stdout,
      /^SEGMENT_FOREIGN /,
      wrong,
    )
})

test('an attempt that fails leaves neither mappings nor descriptors', () => {
  const [head, fds] = environment.split(':') as [string, string]
  const [root, locks] = fds.split(',') as [string, string]
  // Root and locks are right, and mapped, when the cache turns out to be none.
  const { stdout } = child(
    `const { readFileSync, readdirSync } = process.getBuiltinModule('fs')
     const count = () => [
       readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => line.includes('uwshm:')).length,
       readdirSync('/proc/self/fd').length,
     ]
     const before = count()
     for (let i = 0; i < 20; i++) try { uwsgi.cacheGet('k') } catch (error) { if (error.code !== 'SEGMENT_FOREIGN') throw error }
     console.log(JSON.stringify([before, count()]))`,
    { UWSHM_ATTACH: `${head}:${root},${locks},${locks}` },
  )
  const [before, after] = JSON.parse(stdout)
  assert.deepEqual(after, before)
})

test('a segment in a plain file, cut off, changed or of another layout is refused', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'uwshm-attach-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const { id, fds } = native.instance()
  const bytes = fds.map((fd) => readFileSync(`/proc/self/fd/${fd}`))
  // Real segments are sealed memfds; a copy in a file is not, whatever it holds.
  const paths = bytes.map((content, i) => {
    const path = join(directory, `${i}`)
    const file = openSync(path, 'w+')
    writeSync(file, content)
    ftruncateSync(file, content.length)
    closeSync(file)
    return path
  })
  const attach = `import(${JSON.stringify(new URL('../../dist/native.js', import.meta.url).href)}).then(({ native }) =>
    native.attach(${JSON.stringify(id)}, ${JSON.stringify(paths)}, 0)).catch((error) => console.log(error.code))`
  const { stdout } = spawnSync(process.execPath, ['-e', attach], { encoding: 'utf8' })
  assert.equal(stdout, 'SEGMENT_FOREIGN\n')
})

test('another PID namespace is refused: its thread ids mean other threads', (t) => {
  const unshared = ['unshare', '--pid', '--fork', '--mount-proc']
  if (spawnSync(unshared[0]!, [...unshared.slice(1), 'true']).status !== 0)
    return t.skip('cannot unshare a PID namespace')
  // Descriptors are inherited, so that /proc of the other namespace can name them.
  const { id, fds } = native.instance()
  const paths = fds.map((_, i) => `/proc/self/fd/${3 + i}`)
  const program = `import(${JSON.stringify(new URL('../../dist/native.js', import.meta.url).href)}).then(({ native }) =>
    native.attach(${JSON.stringify(id)}, ${JSON.stringify(paths)}, 0)).then(() => console.log('attached'))
    .catch((error) => console.log(error.code))`
  const run = (prefix: string[]) => {
    const [command, ...args] = [...prefix, process.execPath, '-e', program]
    return spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe', ...fds] }).stdout
  }
  assert.equal(run([]), 'attached\n')
  assert.equal(run(unshared), 'SEGMENT_PID_NAMESPACE\n')
})

test('when all process slots are taken the next one is told what to raise; the dead make room', () => {
  const hold = `uwsgi.cacheGet('k'); console.log('in'); setInterval(() => {}, 1000)`
  // Four slots: ours, two that sleep in one child each, and the one that starts them.
  const { stdout } = child(
    `const { spawn, spawnSync } = process.getBuiltinModule('node:child_process')
     uwsgi.cacheGet('k')
     const program = ${JSON.stringify(`import(${JSON.stringify(package_)}).then(({ uwsgi }) => { ${hold} })`)}
     const sleepers = [0, 1].map(() => spawn(process.execPath, ['-e', program]))
     Promise.all(sleepers.map((one) => new Promise((resolve) => one.stdout.once('data', resolve)))).then(() => {
       const last = () => spawnSync(process.execPath, ['-e', program.replace("console.log('in'); setInterval(() => {}, 1000)", "console.log('in')") +
         '.catch((error) => console.log(error.message))'], { encoding: 'utf8' }).stdout
       process.stdout.write(last())
       sleepers[0].once('exit', () => { process.stdout.write(last()); sleepers[1].kill('SIGKILL') }).kill('SIGKILL')
     })`,
  )
  assert.equal(stdout, 'all 4 process slots are taken; raise --max-processes\nin\n')
})

test('a cache larger than the machine is refused before anything is made', () => {
  const { stdout } = child(`create({ cache2: ['name=huge,items=100000000,blocksize=1m'] })`, {
    UWSHM_ATTACH: undefined,
  })
  assert.match(stdout, /^SEGMENT_TOO_LARGE cache huge needs \d+ bytes/)
})

test('an unknown lock engine is refused with the list', () => {
  const { stdout } = child(`create({ lockEngine: 'spin' })`, { UWSHM_ATTACH: undefined })
  assert.match(stdout, /^UNKNOWN_LOCK_ENGINE no lock engine named spin; known: pthread/)
})

test('errors are of one class that can be told by code', () => {
  assert.throws(
    () => uwsgi.cache('nowhere'),
    (error) => error instanceof UwsgiError && error instanceof Error && error.code === 'UNKNOWN_CACHE',
  )
})
