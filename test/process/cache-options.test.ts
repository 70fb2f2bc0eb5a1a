// The options of caches that uWSGI had before --cache2, and what is stored at the start.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { app, cli, folder, get, type Master, run, until } from '../harness.ts'

const http = ['--http-socket', '127.0.0.1:0']

async function call(master: Master, ...path: (string | number)[]): Promise<unknown> {
  const { body } = await get({ port: master.port(), path: `/${path.map(encodeURIComponent).join('/')}` })
  return JSON.parse(body)
}

test('--cache makes the cache named default, which is the first one', async (t) => {
  const old = ['--cache', '3', '--cache-blocksize', '16', '--cache-use-last-modified']
  const master = await run(t, [
    ...http,
    ...['--stats', '127.0.0.1:0', '--cache2', 'name=other,items=1,policy=sieve', ...old],
    ...['--cache2', 'name=runs,items=5,blocks=8,blocksize=10,bitmap=1'],
    app('calls.mjs'),
  ]).serving(1)
  for (const key of ['a', 'b', 'c']) assert.equal(await call(master, 'cacheSet', key, 'v'), true)
  assert.equal(await call(master, 'cacheSet', 'd', 'v'), false, 'it holds three')
  assert.equal(await call(master, 'cacheUpdate', 'a', 'x'.repeat(17)), false)
  assert.equal(await call(master, 'cacheGet', 'a', 'default'), 'v')
  for (const key of ['a', 'b']) assert.equal(await call(master, 'cacheSet', key, 'v', 0, 'other'), true)
  assert.equal(await call(master, 'cacheSet', 'c', 'v', 0.01, 'other'), true)
  await until('it has expired', () => call(master, 'cacheSet', 'c', 'v', 0, 'other') as Promise<boolean>)
  const rows = (await master.stats()).caches as unknown as Record<string, unknown>[]
  assert.deepEqual(
    rows.map(({ name, max_items, blocks, blocksize }) => [name, max_items, blocks, blocksize]),
    [
      ['default', 3, 3, 16],
      ['other', 1, 1, 65536],
      ['runs', 5, 8, 10],
    ],
  )
  const { policy, evictions, expired, longest_chain, repairs } = rows[1]!
  assert.deepEqual([policy, evictions, expired, longest_chain, repairs], ['sieve', 2, 1, 1, 0])
  assert.equal(await call(master, 'cacheSet', 'key', 'x'.repeat(21), 0, 'runs'), true)
  const runs = async () => (await master.stats()).caches[2] as unknown as Record<string, number>
  await until('three blocks of eight are taken', async () => (await runs()).blocks_taken === 3)
  assert.deepEqual([(await runs()).blocks, (await runs()).moves], [8, 0])
  const changed = rows.map(({ last_modified_at }) => Number(last_modified_at))
  assert.ok(Math.abs(changed[0]! - Date.now() / 1000) < 30 && changed[1] === 0, String(changed))
  const [{ refused, full }] = rows as [{ refused: Record<string, number>; full: number }]
  assert.equal(full, 1)
  assert.deepEqual([refused.full, refused.value_too_large, refused.exists], [1, 1, 0])
})

test('items and files are stored before the application starts, in one cache or in all', async (t) => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'page.html'), '<p>g\xfcn</p>', 'latin1')
  writeFileSync(join(cwd, 'with blank'), 'blank')
  const master = await run(
    t,
    [
      ...http,
      ...['--cache2', 'name=pages,items=10', '--cache2', 'name=small things,items=2,blocksize=32'],
      ...['--add-cache-item', 'motto=less is more=fewer', '--add-cache-item', 'small things key=value'],
      ...['--add-cache-item', 'pages motto=again', '--add-cache-item', 'pages page.html=x'],
      ...['--load-file-in-cache', 'pages page.html'],
      ...['--load-file-in-cache', 'with blank', '--load-file-in-cache-gzip', 'pages ./page.html'],
      app('calls.mjs'),
    ],
    { cwd },
  ).serving(1)
  assert.equal(await call(master, 'cacheGet', 'motto', 'pages'), 'less is more=fewer')
  assert.equal(await call(master, 'cacheGet', 'key', 'small things'), null, 'it was full')
  assert.equal(await call(master, 'cacheGet', 'page.html', 'pages'), '<p>g\xfcn</p>')
  assert.equal(await call(master, 'cacheGet', 'page.html', 'small things'), null)
  assert.equal(await call(master, 'cacheGet', 'with blank', 'small things'), 'blank')
  const zipped = (await call(master, 'cacheGet', './page.html', 'pages')) as string
  assert.equal(gunzipSync(Buffer.from(zipped, 'latin1')).toString('latin1'), '<p>g\xfcn</p>')
  for (const line of [
    '[cache] stored "page.html" in "pages"',
    '[cache-gzip] stored "./page.html" in "pages"',
    '[cache-error] unable to store "motto" in "pages" (EXISTS)',
    '[cache-error] unable to store "page.html" in "pages" (EXISTS)',
    '[cache-error] unable to store "key" in "small things" (FULL)',
  ])
    assert.ok(master.log.includes(`${line}\n`), `${line}\n${master.log}`)
})

test('what cannot be stored at the start is refused before it', () => {
  const sentences: Record<string, string[]> = {
    "--add-cache-item: 'nothing' is not KEY=VALUE or CACHE KEY=VALUE": ['--add-cache-item', 'nothing'],
    "--add-cache-item: 'pages =x' is not KEY=VALUE or CACHE KEY=VALUE": ['--add-cache-item', 'pages =x'],
    'no cache named pagse; known: pages': ['--add-cache-item', 'pagse key=value'],
    '--load-file-in-cache: not there cannot be read: ENOENT; name a file, or a cache that is there and a file': [
      '--load-file-in-cache',
      'not there',
    ],
  }
  for (const [sentence, args] of Object.entries(sentences)) {
    const all = [cli, '--cache2', 'name=pages,items=5', ...args, app('calls.mjs')]
    const { status, stderr } = spawnSync(process.execPath, all, { encoding: 'utf8' })
    assert.equal(status, 1)
    assert.ok(stderr.includes(`uwshm: ${sentence}\n`), stderr)
  }
  const { stderr } = spawnSync(process.execPath, [cli, '--add-cache-item', 'a=b', app('calls.mjs')], {
    encoding: 'utf8',
  })
  assert.ok(stderr.includes('no cache named (any); known: none; start with --cache2'), stderr)
})

test('the master tells of a full cache, and how much had expired, where it was asked to', async (t) => {
  const master = await run(t, [
    ...http,
    ...[
      '--cache2',
      'name=loud,items=1',
      '--cache2',
      'name=quiet,items=1,ignore_full=1',
      '--cache2',
      'name=brief,items=9',
    ],
    ...['--cache-report-freed-items', '--cache-expire-freq', '1', '--stats', '127.0.0.1:0', app('calls.mjs')],
  ]).serving(1)
  for (const cache of ['quiet', 'loud'])
    for (const key of ['a', 'b']) await call(master, 'cacheSet', key, 'v', 0, cache)
  for (const key of ['a', 'b']) await call(master, 'cacheSet', key, 'v', 0.01, 'brief')
  await call(master, 'cacheSet', 'c', 'v', 2, 'brief')
  // Asked for once in 3 s, as it is without the option, a sweep would find all three.
  const { items } = await until('some are swept', async () => {
    const row = (await master.stats()).caches[2]!
    return row.items < 3 && row
  })
  assert.equal(items, 1)
  await master.line(/^\*\*\* DANGER cache "loud" is FULL !!! \*\*\*$/m)
  const freed = () => [...master.log.matchAll(/^freed (\d+) items for cache "brief"$/gm)].map(([, n]) => Number(n))
  await until('it is told of two', () => freed().reduce((sum, n) => sum + n, 0) >= 2)
  assert.doesNotMatch(master.log, /quiet/)
})

test('with --cache-no-expire nobody sweeps, and what has expired is gone all the same', async (t) => {
  const caches = ['--cache2', 'name=kept,items=5', '--cache2', 'name=also,items=5']
  const args = [...http, '--stats', '127.0.0.1:0', ...caches, '--cache-no-expire', '--cache-expire-freq', '1']
  const master = await run(t, [...args, app('calls.mjs')]).serving(1)
  for (const cache of ['kept', 'also']) await call(master, 'cacheSet', 'k', 'v', 0.01, cache)
  await until('it has expired', async () => (await call(master, 'cacheGet', 'k', 'kept')) === null)
  // Two looks of the master later it is still counted.
  const { generated_at: began } = await master.stats()
  await until('time for two looks', async () => Number((await master.stats()).generated_at) > Number(began) + 2500)
  assert.deepEqual(
    (await master.stats()).caches.map(({ items }) => items),
    [1, 1],
  )
})
