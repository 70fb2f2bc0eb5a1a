// The README's examples, run as they stand there: its files, its command line, and
// every row of its tables of calls with the result it promises.

import { strict as assert } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { folder, get, run } from '../harness.ts'

const root = join(import.meta.dirname, '../..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

test("the README's application and command line: one count over both workers", async (t) => {
  const cwd = project(t)
  const [, line] = readme.match(/^\$ uwshm (.*)$/m)!
  const master = await run(t, line!.replace(/:\d+/g, ':0').split(' '), { cwd }).serving(2)

  const answers = await Promise.all(Array.from({ length: 40 }, () => get({ port: master.port() })))
  const visits = answers.map(({ body }) => Number(body.match(/^worker \d+ sees visit (\d+)\n$/)![1]))
  assert.deepEqual(
    visits.toSorted((a, b) => a - b),
    Array.from({ length: 40 }, (_, i) => i + 1),
  )
  assert.equal((await master.stats()).workers.length, 2)
})

test('npm start runs examples/hello, and that counts too', async (t) => {
  const example = join(root, 'examples/hello/app.ts')
  const where = ['--http-socket', '127.0.0.1:0', '--stats', '127.0.0.1:0']
  const master = await run(t, [...where, '--processes', '2', '--cache2', 'name=pages,items=1000', example]).serving(2)

  for (let visit = 1; visit <= 3; visit++) {
    const { body } = await get({ port: master.port() })
    assert.match(body, new RegExp(`^worker \\d+ sees visit ${visit}\n$`))
  }
})

test("the README's application with first and last words", async (t) => {
  const args = ['--http-socket', '127.0.0.1:0', '--processes', '2', 'greeter.ts']
  const master = await run(t, args, { cwd: project(t) }).serving(2)
  for (let asked = 0; asked < 3; asked++) {
    const { body } = await get({ port: master.port() })
    const [, served] = body.match(/^worker [12] of 2, (\d) requests so far\n$/)!
    // The other worker may be about to count one that we have the answer of.
    assert.ok(Number(served) <= asked && Number(served) >= asked - 1, body)
  }
  master.kill()
  await master.ended
  for (const id of [1, 2]) assert.match(master.log, new RegExp(`^worker ${id} of 2 says goodbye$`, 'm'))
})

test("the README's program that starts its processes itself", (t) => {
  const { stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, 'alone.ts'], {
    cwd: project(t),
    encoding: 'utf8',
  })
  assert.equal(stdout, '3 children were here\n', stderr)
})

test('every row of the tables of calls gives what it says', async () => {
  const { create, uwsgi } = await import('uwshm')
  create({ cache2: [{ name: 'pages', items: 1000 }], metric: ['orders'] })
  const pages = uwsgi.cache('pages')

  const rows = [...readme.matchAll(/^\| `((?:uwsgi|pages)\..+?)` \| `(.+?)` \|/gm)]
  assert.ok(rows.length > 20, 'the tables were not found')
  for (const [, call, promised] of rows) {
    const result: unknown = new Function('uwsgi', 'pages', `return ${call}`)(uwsgi, pages)
    assert.equal(inspect(result), promised, call)
  }
})

/** A folder with the files of the README in it, where `uwshm` and `tsx` are installed. */
function project(t: TestContext) {
  const path = folder(t)
  mkdirSync(join(path, 'node_modules'))
  symlinkSync(root, join(path, 'node_modules/uwshm'))
  symlinkSync(join(root, 'node_modules/tsx'), join(path, 'node_modules/tsx'))
  writeFileSync(join(path, 'package.json'), '{ "type": "module" }')
  for (const [, name, text] of readme.matchAll(/^```ts\n\/\/ (\S+\.ts)\n(.*?)^```/gms))
    writeFileSync(join(path, name!), text!)
  return path
}
