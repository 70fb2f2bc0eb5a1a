// The same random calls on real uWSGI's cache, in a Python worker, and on ours: what
// comes back is the same, or a row of docs/differences.md says why it is not.
//
// The long form makes 100,000 calls from each of ten seeds in every mode, and writes
// docs/cache-differential.md: `UWSHM_FULL=1 node --import tsx --test test/process/cache-differential.test.ts`.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { create, uwsgi } from '../../dist/index.js'
import { native } from '../../dist/native.js'
import { callsOf, type Mode, modes } from '../differential/calls.ts'
import { type Comparison, compare } from '../differential/drive.ts'
import { pageOf } from '../differential/page.ts'
import { type Answer, rows } from '../differential/rows.ts'
import { folder, readAll, until } from '../harness.ts'

const isFull = process.env.UWSHM_FULL === '1'
const count = Number(process.env.UWSHM_TEST_CALLS ?? (isFull ? 100_000 : 3000))
const seeds = isFull ? Array.from({ length: 10 }, (_, n) => n + 1) : [Number(process.env.UWSHM_TEST_SEED ?? 1)]
const root = join(import.meta.dirname, '../..')

interface Figures {
  items: number
  hits: number
  miss: number
  full: number
  last_modified_at: number
}

test('uWSGI and we answer alike, but for what docs/differences.md says', { timeout: 1_800_000 }, async (t) => {
  const peer = await startUwsgi(t)
  if (peer === null) return t.skip('uwsgi with its Python plugin is missing')
  const stores = folder(t)
  create({
    cache2: modes.map((mode) => optionOf(mode, mode.items[1], join(stores, mode.name))),
  })

  const told = new Map(modes.map((mode): [Mode, Comparison[]] => [mode, []]))
  const inMode = async (mode: Mode) => {
    for (const seed of seeds) {
      const calls = callsOf(mode, seed, count)
      const results = await peer.answers(mode, seed, calls)
      const found = await compare(mode, calls, results, uwsgi.cache(mode.name), () => uwsgi.cacheGet('k', 'nowhere'))
      assert.equal(found.unexplained, null, `mode ${mode.name}, seed ${seed}`)
      assert.equal(native.checkCache(modes.indexOf(mode)), null)
      told.get(mode)!.push(found)
    }
  }
  // Most of the short form is waiting for seconds to be over; the long one computes.
  const left = [...modes]
  const inTurn = async () => {
    for (let mode = left.shift(); mode !== undefined; mode = left.shift()) await inMode(mode)
  }
  await Promise.all(Array.from({ length: isFull ? 4 : modes.length }, inTurn))

  const theirs = await peer.figures()
  for (const [index, mode] of modes.entries()) compareFigures(mode, theirs[index]!, oursOf(index), told.get(mode)!)
  if (isFull) writeFileSync(join(root, 'docs/cache-differential.md'), pageOf(told, peer.version))
})

test('every row that explains a difference stands in docs/differences.md', () => {
  const page = readFileSync(join(root, 'docs/differences.md'), 'utf8')
  for (const { says } of rows) assert.ok(page.includes(`\n| ${says}`), says)
})

function optionOf({ name, blocksize, keys, isStored }: Mode, items: number, path: string): string {
  return `name=${name},items=${items},blocksize=${blocksize},${keys}${isStored ? `,store=${path}` : ''}`
}

function compareFigures(mode: Mode, theirs: Figures, ours: Figures & { evictions: number }, told: Comparison[]): void {
  const apart = (figure: keyof Comparison['apart']) => told.reduce((sum, found) => sum + found.apart[figure], 0)
  assert.equal(ours.hits + apart('hits'), theirs.hits, `hits of ${mode.name}`)
  assert.equal(ours.miss + apart('miss'), theirs.miss, `misses of ${mode.name}`)
  // `an eviction counts as full`, there; here each has its own figure, and what is swept or cleared too.
  if (mode.items[0] === mode.items[1]) assert.equal(ours.full + apart('full'), theirs.full, `full of ${mode.name}`)
  else if (mode.keys.includes('purge_lru')) assert.equal(ours.evictions, theirs.full, `evictions of ${mode.name}`)
  if (mode.end !== 'modified') return
  // Two seconds after the last change a set was refused: `a refused set counts as a change`, there.
  const [theirMark, ourMark] = told.at(-1)!.marks as [number, number]
  assert.ok(theirs.last_modified_at >= theirMark + 2, 'uWSGI took a refused set for a change')
  assert.ok(ours.last_modified_at <= ourMark + 1, 'a refused set is no change')
}

function oursOf(index: number): Figures & { evictions: number } {
  const { items, hits, miss, full, evictions, lastModifiedAt } = native.cacheFigures(index)
  return { items, hits, miss, full, evictions, last_modified_at: lastModifiedAt }
}

/** Real uWSGI with the same caches, that nobody sweeps; null where there is none. */
async function startUwsgi(t: TestContext) {
  const { status, stdout } = spawnSync('uwsgi', ['--plugin', 'python3', '--version'], { encoding: 'utf8' })
  if (status !== 0) return null
  const at = folder(t)
  const [socketPath, stats] = [join(at, 'http'), join(at, 'stats')]
  const child = spawn(
    'uwsgi',
    [
      ...['--plugin', 'python3', '--wsgi-file', join(root, 'test/differential/uwsgi.py'), '--need-app', '--master'],
      ...['--processes', '4', '--http-socket', socketPath, '--stats', stats, '--die-on-term', '--disable-logging'],
      ...['--cache-no-expire', '--socket-timeout', '60'],
      ...modes.flatMap((mode) => [
        ...['--cache2', `${optionOf(mode, mode.items[0], join(at, mode.name))},ignore_full=1`],
      ]),
    ],
    { stdio: 'ignore' },
  )
  t.after(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  await until('uWSGI serves', async () => {
    assert.equal(child.exitCode, null, 'uWSGI did not start')
    return await readAll({ path: stats }).catch(() => false)
  })

  return {
    version: stdout.trim(),
    async answers(mode: Mode, seed: number, calls: unknown[]): Promise<Answer[]> {
      const [asked, results] = ['calls', 'results'].map((kind) => join(at, `${mode.name}-${seed}.${kind}`)) as [
        string,
        string,
      ]
      writeFileSync(asked, JSON.stringify(calls))
      const query = new URLSearchParams({ calls: asked, results, cache: mode.name })
      // However long it takes: this process compares meanwhile, and does not look.
      const [response] = (await once(request({ socketPath, path: `/?${query}` }).end(), 'response')) as [
        IncomingMessage,
      ]
      assert.equal(response.resume().statusCode, 200)
      await once(response, 'end')
      return JSON.parse(readFileSync(results, 'utf8')) as Answer[]
    },
    async figures(): Promise<Figures[]> {
      return (JSON.parse(await readAll({ path: stats })) as { caches: Figures[] }).caches
    },
  }
}
