// docs/alarms.md: its program and command line do what the page says, and its tables
// have every type and every key.

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { alarmList, types } from '../../src/alarms/index.ts'
import { folder, get, run } from '../harness.ts'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/alarms.md'), 'utf8')

test("docs/alarms.md: the shop's alarms are in its log", async (t) => {
  const cwd = folder(t)
  mkdirSync(join(cwd, 'node_modules'))
  for (const [name, path] of Object.entries({ uwshm: root, tsx: join(root, 'node_modules/tsx') }))
    symlinkSync(path, join(cwd, 'node_modules', name))
  writeFileSync(join(cwd, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(cwd, 'shop.ts'), /^```ts\n\/\/ shop.ts\n(.*?)^```/ms.exec(page)![1]!)
  const [, line] = /^```sh\nuwshm (.*?)\n```/ms.exec(page)!
  const words = line!.replaceAll('\\\n', '').matchAll(/'([^']*)'|(\S+)/g)
  const args = [...words].map(([, quoted, bare]) => quoted ?? bare!.replace(':8080', ':0'))
  const master = await run(t, args, { cwd }).serving(1)
  for (const path of ['/', '/', '/fire']) await get({ port: master.port(), path })
  const [, promised] = /the log has\n\n```\n(.*?)```/s.exec(page)!
  for (const line of promised!.trimEnd().split('\n'))
    await master.line(new RegExp(`^${line.replace(/^.* - /, '.* - ')}$`, 'm'))
})

test('docs/alarms.md: every type has its row, every key of curl too', () => {
  for (const { syntax } of Object.values(types)) assert.ok(page.includes(`\n| \`${syntax}\` |`), syntax)
  const [, keys] = /keys: (.*)/.exec(alarmList())!
  for (const key of keys!.split(', ')) assert.match(page, new RegExp(`^\\|.*\`${key}\`.*\\|`, 'm'), key)
})
