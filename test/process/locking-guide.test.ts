// docs/locking.md, run as it stands there: each commented call gives what its comment
// says, and its example keeps its books.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { folder } from '../harness.ts'

const root = join(import.meta.dirname, '../..')
const guide = readFileSync(join(root, 'docs/locking.md'), 'utf8')

/** A folder with the guide's files and one more, run in it by this Node. */
function runBeside(t: TestContext, files: Record<string, string>, main: string) {
  const path = folder(t)
  mkdirSync(join(path, 'node_modules'))
  symlinkSync(root, join(path, 'node_modules/uwshm'))
  symlinkSync(join(root, 'node_modules/tsx'), join(path, 'node_modules/tsx'))
  writeFileSync(join(path, 'package.json'), '{ "type": "module" }')
  for (const [, name, text] of guide.matchAll(/^```ts\n\/\/ (\S+\.ts)\n(.*?)^```/gms))
    writeFileSync(join(path, name!), text!)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
  const { UWSHM_ATTACH: _, ...env } = process.env
  return spawnSync(process.execPath, [...process.execArgv, main], { cwd: path, encoding: 'utf8', env, timeout: 60_000 })
}

test('every call of the guide gives what it says', (t) => {
  const text = guide.match(/^```ts\n\/\/ calls\.ts\n(.*?)^```/ms)![1]!
  let calls = 0
  const checked = text.replace(/^(.*?) \/\/ (true|false|undefined).*$/gm, (_, call: string, result: string) => {
    calls++
    return `equal(${call}, ${result})`
  })
  assert.ok(calls > 10)
  const main = `import { strictEqual as equal } from 'node:assert'\nimport { create } from 'uwshm'\ncreate()\n${checked}`
  const { status, stderr } = runBeside(t, { 'main.ts': main }, 'main.ts')
  assert.equal(status, 0, stderr)
})

test('the example of the guide charges every amount once, over three processes', (t) => {
  const main = `
    import { fork } from 'node:child_process'
    import { create, uwsgi } from 'uwshm'
    if (!process.argv[2]) create({ cache2: ['name=books,items=10'] })
    const { charge } = await import('./billing.ts')
    if (process.argv[2]) await Promise.all(Array.from({ length: 20 }, () => charge(5)))
    else {
      await Promise.all([1, 2, 3].map((i) => new Promise((done) => fork(import.meta.filename, [String(i)]).once('exit', done))))
      console.log(uwsgi.cacheNum('balance'), uwsgi.namedLock('billing').isLocked())
    }`
  const { stdout, stderr } = runBeside(t, { 'main.ts': main }, 'main.ts')
  assert.equal(stdout, '300 false\n', stderr)
})
