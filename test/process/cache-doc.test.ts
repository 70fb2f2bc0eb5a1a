// The programs of docs/cache.md: each prints what the page says below it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { create } from 'uwshm'
import { Cache } from '../../dist/cache/cache.js'
import { completeOptions } from '../../dist/options.js'
import { Statistics } from '../../dist/stats/snapshot.js'
import { folder } from '../harness.ts'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/cache.md'), 'utf8')
const programs = [...page.matchAll(/^```ts\n\/\/ (\S+\.ts)\n(.*?)^```\n\n```\n(.*?)^```/gms)]

test('every program of the page is one of these tests', () => {
  assert.equal(programs.length, page.match(/^```ts$/gm)?.length)
})

for (const [, name, text, printed] of programs)
  test(`docs/cache.md: ${name}`, (t) => {
    const cwd = folder(t)
    mkdirSync(join(cwd, 'node_modules'))
    for (const module of ['tsx', 'uwshm'])
      symlinkSync(module === 'uwshm' ? root : join(root, 'node_modules', module), join(cwd, 'node_modules', module))
    writeFileSync(join(cwd, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(cwd, name!), text!)
    const { stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, name!], { cwd, encoding: 'utf8' })
    assert.equal(stdout, printed, stderr)
  })

test('the page names every figure that the statistics add to those of uWSGI', () => {
  create({ cache2: ['name=runs,items=1,bitmap=1'] })
  const document = JSON.parse(new Statistics([], completeOptions()).text()) as { caches: [object] }
  const figures = Object.keys(document.caches[0])
  const [, table] = /^uWSGI's fields of .*?\n\n(.*)$/ms.exec(page)!
  const named = [...table!.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => cell!.match(/\w+/g)!)
  const [uwsgis, own] = [figures.slice(0, 12), figures.slice(12)]
  assert.equal(uwsgis.at(-1), 'last_modified_at')
  assert.deepEqual(named.filter((name) => !uwsgis.includes(name)).sort(), own.sort())
})

test('the page names every method of a handle, and no other', () => {
  const [, table] = /^\| call \| gives \| does \|\n(.*?)\n\n/ms.exec(page)!
  const named = new Set(
    [...table!.matchAll(/^\| (.*?) \|/gm)].flatMap(([, cell]) => cell!.match(/\b[a-z]\w+(?=\(|`)/gi)!),
  )
  const source = readFileSync(join(root, 'src/cache/cache.ts'), 'utf8')
  const own = [...source.matchAll(/^ {2}readonly (\w+): (?:\(|Counting)/gm)].map(([, name]) => name!)
  const methods = Object.getOwnPropertyNames(Cache.prototype).filter((name) => name !== 'constructor')
  assert.deepEqual([...named].sort(), [...own, ...methods].sort())
})
