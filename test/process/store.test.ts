// Caches in files: what is there again after everybody was killed, and what a start does with files of every kind.
//
// UWSHM_TEST_KILLS: how often the whole tree is killed, 3 by default and 100 for the whole promise.
// UWSHM_FULL: a start is timed with a store of a GB, not of 26 MB.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { app, cli, folder, get, type Master, run, until } from '../harness.ts'

const kills = Number(process.env.UWSHM_TEST_KILLS ?? 3)
const http = ['--http-socket', '127.0.0.1:0']

/** A master of calls.mjs with a cache in `store`. */
function start(t: TestContext, store: string, more = '', ...options: string[]): Master {
  return run(t, [
    ...http,
    '--cache2',
    `name=pages,items=100,blocksize=1k,store=${store}${more}`,
    ...options,
    app('calls.mjs'),
  ])
}

async function call(master: Master, ...path: (string | number)[]): Promise<unknown> {
  const { body } = await get({ port: master.port(), path: `/${path.map(encodeURIComponent).join('/')}` })
  return JSON.parse(body)
}

async function killTree(master: Master): Promise<void> {
  master.killAll()
  await master.ended
}

function fsck(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'fsck', ...args], { encoding: 'utf8' })
  return { status, text: stdout + stderr }
}

function flip(file: string, at: number): void {
  const fd = openSync(file, 'r+')
  const byte = Buffer.alloc(1, readFileSync(file)[at]! ^ 0x10)
  writeSync(fd, byte, 0, 1, at)
  closeSync(fd)
}

/** How many kB of `file` a process has changed since they were written to the disk. */
function unwritten(pid: number, file: string): number {
  const maps = readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-)/m)
  const its = maps.filter((map) => map.split('\n')[0]!.endsWith(file))
  assert.ok(its.length > 0, `${file} is not mapped`)
  const dirty = its.flatMap((map) => [...map.matchAll(/^(?:Shared|Private)_Dirty: +(\d+) kB$/gm)])
  return dirty.reduce((sum, [, kB]) => sum + Number(kB), 0)
}

interface Verdict {
  last: number
  looked: number
  missing: number
  wrong: string
}

// Most of their time is waiting.
suite('stores', { concurrency: 3 }, () => {
  test('a cache with a store is there again after its master has ended, and after kill -9 of everybody', async (t) => {
    const store = join(folder(t), 'pages.store')
    let master = await start(t, store, '', '--stats', '127.0.0.1:0').serving(1)
    assert.match(master.log, /^creating a new cache store file: .*pages\.store$/m)
    assert.equal(statSync(store).mode & 0o777, 0o600)
    assert.ok(statSync(store).blocks * 512 >= statSync(store).size, 'its room is taken at the start')
    await call(master, 'cacheSet', 'greeting', 'hello')
    await call(master, 'cacheSet', 'short', 'lived', 3600)
    await call(master, 'cacheInc', 'visits', 41)
    await call(master, 'cacheSet', 'gone', 'x')
    await call(master, 'cacheDel', 'gone')
    for (const end of [(it: Master) => it.kill(), killTree]) {
      void end(master)
      await master.ended
      master = await start(t, store, '', ...['--stats', '127.0.0.1:0', '--add-cache-item', 'greeting=other']).serving(1)
      assert.match(master.log, /^recovered cache from backing store file: .*pages\.store$/m)
      assert.match(master.log, /^\[uwsgi-cache\] restored 3 items of cache "pages"$/m)
      assert.match(master.log, /^\[cache-error\] unable to store "greeting" in "pages" \(EXISTS\)$/m)
      assert.equal(await call(master, 'cacheGet', 'greeting'), 'hello')
      assert.equal(await call(master, 'cacheNum', 'visits'), 41)
      assert.equal(await call(master, 'cacheGet', 'gone'), null)
      const [row] = (await master.stats()).caches as unknown as Record<string, number>[]
      const { damaged, items, hits, miss, bytes } = row!
      assert.deepEqual([damaged, items, hits, miss], [0, 3, 2, 1], 'hits and misses begin anew')
      assert.ok(bytes! >= statSync(store).size)
    }
  })

  test('--cache-store is the store of --cache, and --cache-store-sync has it written', async (t) => {
    // Here: /tmp may be memory, which nobody writes to a disk.
    const store = join(folder(t, import.meta.dirname), 'default.store')
    const options = [
      ...http,
      '--cache',
      '10',
      '--cache-blocksize',
      '64k',
      '--cache-store',
      store,
      '--cache-store-sync',
      '1',
      app('calls.mjs'),
    ]
    const master = await run(t, options).serving(1)
    const [pid] = master.pidsOfReady()
    await until('it is changed', async () => {
      await call(master, 'cacheUpdate', 'a', 'b'.repeat(5000))
      return unwritten(pid!, store) > 0
    })
    // Left alone, the kernel would write it after half a minute.
    await until('it is written', () => unwritten(pid!, store) === 0, 5000)
    await killTree(master)
    assert.equal(await call(await run(t, options).serving(1), 'cacheGet', 'a', 'default'), 'b'.repeat(5000))
  })

  test(`kill -9 of the whole tree under load, ${kills} times: what was completed is there again, and nothing is wrong`, async (t) => {
    const place = folder(t)
    const store = join(place, 'pages.store')
    const cache = `name=pages,items=20000,blocksize=256,policy=sieve,store=${store}`
    const verdicts = () => readFileSync(join(place, 'verdicts'), 'utf8').split('\n').filter(Boolean)
    for (let round = 0; round <= kills; round++) {
      const master = await run(t, [
        ...http,
        '-p',
        '2',
        '--cache2',
        cache,
        app('stored.mjs'),
        '--',
        place,
        '5000',
      ]).serving(2)
      await until('both have looked', () => verdicts().length === 2 * round + 2)
      if (round > 0) assert.match(master.log, /restored \d+ items of cache "pages"$/m)
      // Not everything that is said of it is about the beginning of a life.
      await new Promise((resolve) => setTimeout(resolve, 50 + ((round * 37) % 200)))
      await killTree(master)
    }
    const told = verdicts().map((line) => JSON.parse(line) as Verdict)
    for (const { wrong } of told) assert.equal(wrong, '')
    const sum = (of: (one: Verdict) => number) => told.reduce((sum, one) => sum + of(one), 0)
    const [looked, missing] = [sum((one) => one.looked), sum((one) => one.missing)]
    t.diagnostic(
      `${looked} looked at, ${missing} missing, ${Math.max(...told.map(({ last }) => last))} calls of a worker`,
    )
    assert.ok(looked > 1000 * kills, `only ${looked} looked at`)
    assert.ok(missing <= looked / 1000, `${missing} of ${looked} are missing`)
    assert.equal(fsck(store).status, 0, fsck(store).text)
  })

  test('a second master is refused while the first lives, with its pid, and not after', async (t) => {
    const store = join(folder(t), 'pages.store')
    const first = await start(t, store).serving(1)
    const second = start(t, store)
    assert.equal((await second.ended).status, 1)
    const sentence = `uwshm: cache pages: its store ${store} belongs to a running instance (pid ${first.pid}); end that, or name another file\n`
    assert.ok(second.log.endsWith(sentence), second.log)
    await call(first, 'cacheSet', 'still', 'there')
    assert.match(fsck(store).text, new RegExp(`in use by pid ${first.pid}`))
    await killTree(first)
    assert.equal(await call(await start(t, store).serving(1), 'cacheGet', 'still'), 'there')
  })

  test('a file that cannot be used is moved aside, or removed with store_delete, and the start goes on', async (t) => {
    const place = folder(t)
    const good = join(place, 'good')
    const master = await start(t, good).serving(1)
    await call(master, 'cacheSet', 'a', 'b')
    await killTree(master)
    const bytes = readFileSync(good)
    const cut = bytes.subarray(0, bytes.length - 4096)
    const torn = Buffer.from(bytes)
    torn[200]! ^= 1
    const layout = Buffer.from(bytes)
    layout[8]! ^= 1
    const cases: [name: string, content: Buffer, more: string, kind: string, reason: RegExp][] = [
      ['header', torn, '', 'damaged', /its header is damaged/],
      ['short', cut, '', 'damaged', /it has \d+ of its \d+ bytes/],
      ['tiny', bytes.subarray(0, 100), '', 'damaged', /it is no store/],
      ['text', Buffer.from('not mine\n'.repeat(1000)), '', 'damaged', /it is no store/],
      ['layout', layout, '', 'old', /it has layout \d+, this build reads \d+/],
      ['larger', bytes, ',blocksize=2k', 'old', /it has blocksize 1024, not 2048/],
      ['sieve', bytes, ',policy=sieve', 'old', /it has policy none, not sieve/],
      ['named', bytes, ',name=other', 'old', /it is of cache "pages"/],
    ]
    await Promise.all(
      cases.map(async ([name, content, more, kind, reason]) => {
        const store = join(place, name)
        writeFileSync(store, content)
        const line = new RegExp(
          `^\\*\\*\\* cache "\\w+" starts empty: its store ${store} cannot be used \\((.*)\\); moved it to (.*) \\*\\*\\*$`,
          'gm',
        )
        const master = start(t, store, more)
        await master.serving(1)
        const told = [...master.log.matchAll(line)]
        assert.equal(told.length, 1, master.log)
        const [, why, aside] = told[0]!
        assert.match(why!, reason)
        assert.match(aside!, new RegExp(`^${store}\\.${kind}-\\d{4}-\\d\\d-\\d\\dT\\d{6}$`))
        assert.deepEqual(readFileSync(aside!), content)
        assert.deepEqual(await call(master, 'cacheKeys'), [])
        await killTree(master)
      }),
    )
    const store = join(place, 'deleted')
    writeFileSync(store, 'not mine')
    const deleting = await start(t, store, ',store_delete').serving(1)
    assert.match(deleting.log, /cannot be used \(it is no store\); removed it \*\*\*$/m)
    assert.deepEqual(
      readdirSync(place).filter((name) => name.startsWith('deleted')),
      ['deleted'],
    )
  })

  test('a damaged item is a miss, is counted, and is told; fsck names it and changes nothing', async (t) => {
    const store = join(folder(t), 'pages.store')
    const master = await start(t, store).serving(1)
    await call(master, 'cacheSet', 'whole', 'as it was')
    await call(master, 'cacheSet', 'broken', 'the value that a bad disk changes')
    await killTree(master)
    assert.deepEqual(fsck(store).status, 0)
    assert.match(fsck(store).text, /\n {2}items {5}2 good, with 42 bytes of values\n[\s\S]*\nclean\n$/)
    flip(store, readFileSync(store).indexOf('the value that a bad disk'))
    const before = readFileSync(store)
    const { status, text } = fsck(store)
    assert.equal(status, 1)
    assert.match(text, /\n {2}damaged {3}1\n {12}slot \d+, key "broken"\n1 item is damaged: the next start drops/)
    assert.deepEqual(readFileSync(store), before)

    const next = await start(t, store, '', '--stats', '127.0.0.1:0').serving(1)
    assert.match(next.log, /^\[uwsgi-cache\] restored 1 items of cache "pages"; 1 were damaged$/m)
    assert.equal(await call(next, 'cacheGet', 'broken'), null)
    assert.equal(await call(next, 'cacheGet', 'whole'), 'as it was')
    const [row] = (await next.stats()).caches as unknown as { damaged: number }[]
    assert.equal(row!.damaged, 1)
    await killTree(next)
    assert.equal(fsck(store).status, 0, 'what was dropped is not damaged any more')
  })

  test('fsck tells what is no store by exit status 2', (t) => {
    const place = folder(t)
    writeFileSync(join(place, 'text'), 'hello')
    for (const [file, reason] of [
      [join(place, 'text'), 'it is no store'],
      [join(place, 'absent'), 'there is no such file'],
      [place, 'no file'],
    ] as const) {
      const { status, text } = fsck(file)
      assert.deepEqual([status, text], [2, `uwshm fsck: ${file}: ${reason}\n`])
    }
    assert.equal(fsck().status, 2)
  })

  test('a store that cannot be had is refused in one sentence, and nothing is left behind', async (t) => {
    const place = folder(t)
    symlinkSync(join(place, 'elsewhere'), join(place, 'link'))
    spawnSync('mkfifo', [join(place, 'fifo')])
    mkdirSync(join(place, 'dir'))
    const refused: [store: string, reason: string][] = [
      ['no/where', 'ENOENT'],
      ['link', 'ELOOP'],
      ['fifo', 'it is no file'],
      ['dir', 'EISDIR'],
    ]
    for (const [name, reason] of refused) {
      const store = join(place, name)
      const master = start(t, store)
      assert.equal((await master.ended).status, 1)
      const sentence = `cache pages: its store ${store} cannot be used: ${reason}; name a file of your own, in a folder that is there`
      assert.equal(master.log.trim().split('\n').at(-1), `uwshm: ${sentence}`)
    }
    assert.deepEqual(readdirSync(place).sort(), ['dir', 'fifo', 'link'])
  })

  test('where there is no room for a store, the start says how much it needs', async (t) => {
    const store = join(folder(t), 'pages.store')
    // In blocks of 1024 bytes; a limit stands in for a full disk.
    const command = `ulimit -f 8192; exec "$0" "$@"`
    const args = [cli, '--cache2', `name=pages,items=100,blocksize=1m,store=${store}`, app('nothing.mjs')]
    const { status, stderr } = spawnSync('bash', ['-c', command, process.execPath, ...args], { encoding: 'utf8' })
    assert.equal(status, 1)
    assert.match(
      stderr,
      /uwshm: cache pages: no room for the \d+ bytes of its store: File too large; make room there, or lower items or blocksize\n$/,
    )
    await start(t, store).serving(1)
  })
})

// Alone, for it is timed.
test('a start takes no longer than a second for each GB, even of small items', (t) => {
  const store = join(folder(t), 'many.store')
  const items = process.env.UWSHM_FULL ? 4_000_000 : 100_000
  const startOnce = () => {
    const { stdout, stderr } = spawnSync(process.execPath, [app('restart.mjs'), store, String(items)], {
      encoding: 'utf8',
    })
    assert.notEqual(stdout, '', stderr)
    return JSON.parse(stdout) as { tookMs: number; size: number }
  }
  assert.equal(startOnce().size, 0)
  // The best of three: others use this machine too.
  const starts = [startOnce(), startOnce(), startOnce()]
  for (const { size } of starts) assert.equal(size, items)
  const gigabytes = statSync(store).size / 1e9
  const tookMs = Math.min(...starts.map((one) => one.tookMs))
  t.diagnostic(`${items} items, ${gigabytes.toFixed(2)} GB: ${tookMs.toFixed(0)} ms`)
  // Below a GB it is the rest of a start that takes the time.
  assert.ok(tookMs < 1000 * Math.max(1, gigabytes), `${tookMs} ms`)
})
