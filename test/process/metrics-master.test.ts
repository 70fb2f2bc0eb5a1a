// The master's part in metrics: defaults that are really fed, collectors good and
// bad, the files of --metrics-dir and what a restart makes of them.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { app, folder, get, type Master, run, until } from '../harness.ts'

/** Every metric as the application sees it. */
async function values(master: Master, path = '/'): Promise<Record<string, bigint>> {
  const { body } = await get({ port: master.port(), path })
  const lines = body.trimEnd().split('\n')
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), BigInt(line.split(' ').at(-1)!)]),
  )
}

const serve = ['--http-socket', '127.0.0.1:0', '-p', '2', '--threads', '2']
const file = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : null)

test('the default metrics are fed: requests, bytes, memory, also those of worker 0', async (t) => {
  const master = await run(t, [...serve, '--enable-metrics', app('metrics.mjs')]).serving(2)
  for (const line of [/initialized \d+ metrics/, /memory allocated for metrics storage: \d+ bytes/])
    await master.line(line)
  for (let i = 0; i < 10; i++) await values(master)
  await get({ port: master.port(), path: '/throw' })
  const now = await until('all is fed', async () => {
    const now = await values(master)
    const sum = (name: string) => [1, 2].reduce((all, id) => all + now[`worker.${id}.${name}`]!, 0n)
    const isFed =
      now['worker.0.heap_used']! > 2n ** 20n && now['worker.1.rss_size']! > 0n && now['worker.2.rss_size']! > 0n
    return isFed && sum('rss_size') === now['core.total_rss'] && now
  })
  const sum = (name: string) => now[`worker.1.${name}`]! + now[`worker.2.${name}`]!
  for (const name of [
    'requests',
    'delta_requests',
    'total_tx',
    'running_time',
    'respawns',
    'failed_requests',
    'rss_size',
    'vsz_size',
  ])
    assert.equal(now[`worker.0.${name}`], sum(name), name)
  assert.ok(now['worker.0.requests']! >= 11n)
  assert.equal(now['worker.0.respawns'], 2n)
  assert.equal(now['worker.0.failed_requests'], 1n)
  assert.equal(now['core.total_tx'], now['worker.0.total_tx'])
  assert.ok(now['core.total_tx']! > 1000n)
  assert.equal(now['core.avg_response_time'], sum('avg_response_time') / 2n)
  assert.equal(now.rss_size, now['core.total_rss'])
  assert.equal(now['core.busy_workers']! + now['core.idle_workers']!, 2n)
  assert.equal(now['core.busy_workers'], 1n, 'the one that answers')
  const cores = [1, 2].flatMap((id) => [0, 1].map((core) => now[`worker.${id}.core.${core}.requests`]!))
  assert.equal(
    cores.reduce((all, one) => all + one, 0n),
    now['worker.0.requests'],
  )
  const exceptions = [0, 1].map((core) => sum(`core.${core}.exceptions`))
  assert.deepEqual(exceptions, [1n, 0n], 'of the core on which its request was')
})

test('collectors feed their metrics, each from where it says', async (t) => {
  const dir = folder(t)
  const measured = join(dir, 'measured')
  writeFileSync(measured, `  1\t-22 \0 3.75\n${'x '.repeat(5000)}99`)
  const metric = (text: string) => ['--metric', text]
  const master = await run(t, [
    ...serve,
    ...metric('simple'),
    ...metric('name=base,initial_value=7'),
    ...metric('name=one,initial_value=1'),
    ...[0, 1, 2, 3].flatMap((word) => metric(`name=word${word},collector=file,arg1=${measured},arg1n=${word}`)),
    ...metric(`name=scaled,collector=file,arg1=${measured},arg1n=3,scale=100`),
    ...metric(`name=far,collector=file,arg1=${measured},arg1n=5004,initial_value=1000`),
    ...metric('name=sum,collector=sum,children=simple;base,initial_value=1000'),
    ...metric('name=avg,collector=avg,children=simple;base'),
    ...metric('name=empty,collector=avg'),
    ...metric('name=add,collector=adder,children=simple;base,arg1n=10'),
    ...metric('name=mul,collector=multiplier,children=simple;base,arg1n=3'),
    ...metric('name=zero,collector=multiplier,children=simple;base'),
    ...metric('name=acc,collector=accumulator,children=base,initial_value=100'),
    ...metric(`name=func,collector=func,arg1=${app('collect.mjs')}:seven`),
    ...metric(`name=later,collector=func,arg1=${app('collect.mjs')}:later`),
    ...metric(`name=fraction,collector=func,arg1=${app('collect.mjs')}:fraction`),
    ...metric(`name=counts,collector=func,arg1=${app('collect.mjs')}:counts`),
    ...metric('name=often,collector=accumulator,children=one'),
    ...metric('name=seldom,collector=accumulator,children=one,freq=3'),
    ...metric('name=sums,collector=sum,children=sum;add'),
    app('metrics.mjs'),
  ]).serving(2)
  await master.line(/added custom metric: simple/)
  await values(master, '/set/simple/50')
  const now = await until('all are collected', async () => {
    const now = await values(master)
    return now.sums === 1057n + 67n && now.fraction === -2n && now.counts! >= 2n && now.far! > 1000n && now
  })
  const expected = {
    word0: 1,
    word1: 1,
    word2: -22,
    word3: 3,
    scaled: 375,
    far: 1099,
    sum: 1057,
    avg: 28,
    empty: 0,
    add: 67,
  }
  for (const [name, value] of Object.entries({ ...expected, mul: 171, zero: 0, func: 7 }))
    assert.equal(now[name], BigInt(value), name)
  assert.equal(now.later, 1n << 40n)
  assert.equal((now.acc! - 100n) % 7n, 0n, 'it starts at 100 and grows by 7')
  assert.ok(now.acc! > 100n)
  const { often, seldom } = await until('each is asked at its own pace', async () => {
    const now = await values(master)
    return now.seldom! >= 2n && now
  })
  assert.ok(3n * seldom! <= often! + 2n, `${often} looks a second apart while ${seldom} were three apart`)
  await values(master, '/inc/sum/5')
  assert.notEqual((await values(master)).sum, 1062n, 'a collected metric is written by its collector only')
})

test('a collector that fails, hangs or dies is told once and delays nobody', async (t) => {
  const dir = folder(t)
  const path = join(dir, 'comes later')
  const func = (name: string) => ['--metric', `name=${name},collector=func,arg1=${app('collect.mjs')}:${name}`]
  const master = await run(t, [
    ...serve,
    ...['throws', 'hangs', 'never', 'text', 'exits', 'missing', 'counts', 'late'].flatMap(func),
    ...['--metric', 'name=one,initial_value=1', '--metric', 'name=turns,collector=accumulator,children=one'],
    ...['--metric', `name=file,collector=file,arg1=${path}`, '--metric', `name=dir,collector=file,arg1=${dir}`],
    ...['--metric', 'name=few,collector=file,arg1=/proc/loadavg,arg1n=50'],
    app('metrics.mjs'),
  ]).serving(2)
  for (const line of [
    /metric throws keeps its value: .*nothing to count/,
    /metric text keeps its value: .*returned seven, not a number/,
    /metric exits keeps its value: .*ended its thread/,
    /metric missing keeps its value: .*exports no function named missing/,
    /metric file keeps its value: ENOENT/,
    /metric dir keeps its value: EISDIR/,
    /metric few keeps its value: \/proc\/loadavg has no word 50/,
  ])
    await master.line(line)
  const begun = await turnsOf(master)
  writeFileSync(path, '12\n')
  await master.line(/metric file is collected again/)
  assert.equal((await values(master)).file, 12n)
  await master.line(/metric hangs keeps its value: .*(gave no answer|not answered)/)
  await master.line(/metric never keeps its value: .*(gave no answer|not answered)/)
  for (const name of ['throws', 'text', 'few', 'missing'])
    assert.equal(master.log.split(`metric ${name} keeps`).length, 2, `${name} is told once`)
  const ended = await turnsOf(master)
  assert.ok(ended.at - begun.at > 5000, 'all that while somebody hung')
  assert.ok(Math.abs(ended.turns - begun.turns - (ended.at - begun.at) / 1000) < 1.5, 'the others had every turn')
  const { counts, late } = await values(master)
  // Their threads have to find a processor beside the one that spins.
  assert.ok(Number(counts) > ended.turns / 2, `${counts} of ${ended.turns} turns`)
  t.diagnostic(`a good collector's function came ${late} ms late at most`)
  assert.ok(late! < 5000n, `${late} ms, where others give no answer for ten seconds`)
})

/** How often the master has looked at its collectors. */
async function turnsOf(master: Master): Promise<{ turns: number; at: number }> {
  const { turns } = await values(master)
  return { turns: Number(turns), at: performance.now() }
}

test('--metrics-dir has a file for every metric; after a restart counters go on and nothing else does', async (t) => {
  const dir = folder(t)
  mkdirSync(join(dir, 'metrics'))
  const path = (name: string) => join(dir, 'metrics', name)
  const args = [
    ...serve,
    ...['--metric', 'hits', '--metric', 'name=level,type=gauge', '--metric', 'name=from,initial_value=100'],
    ...['--metric', 'name=total,collector=sum,children=hits;from'],
    ...['--metrics-dir', join(dir, 'metrics'), '--metrics-dir-restore', app('metrics.mjs')],
  ]
  const first = await run(t, args).serving(2)
  for (const change of [
    '/inc/hits/5',
    '/set/level/33',
    '/inc/from/1',
    '/inc/defined.late/3',
    '/label/4',
    '/took/7',
    '/took/70',
  ])
    await values(first, change)
  await until(
    'the files are written',
    () =>
      file(path('labelled{path="%2Fa"}')) === '4\n' &&
      file(path('level')) === '33\n' &&
      file(path('took_sum')) === '77\n',
  )
  const names = Object.keys(await values(first))
  assert.deepEqual(readdirSync(dir + '/metrics').filter((name) => !name.endsWith('~')).length, names.length)
  assert.equal(file(path('hits')), '5\n')
  assert.equal(statSync(path('hits')).mode & 0o777, 0o640 & ~process.umask())
  const before = await values(first, '/inc/hits/2')
  first.kill()
  await first.ended
  assert.equal(file(path('hits')), '7\n', 'the last values are written at the end')

  const second = await run(t, args).serving(2)
  const now = await until('what was defined late is restored', async () => {
    const now = await values(second, '/took/7')
    return (
      now['defined.late'] === 3n &&
      now['labelled{path="/a"}'] === 4n &&
      ofBucket(now) === 1n &&
      now.total === 108n &&
      now
    )
  })
  assert.equal(now.hits, 7n)
  assert.equal(now.from, 101n)
  assert.equal(now.level, 0n, 'a gauge says how things are')
  assert.equal(now.total, 108n, 'a sum is not counted twice')
  assert.equal(now.took_count, now['took_bucket{le="+Inf"}'])
  assert.ok(now['worker.0.requests']! > before['worker.0.requests']!, 'built-in counters go on too')
  assert.ok(
    now['core.total_tx']! < 2n * (before['core.total_tx']! + now['worker.0.total_tx']! - before['worker.0.total_tx']!),
  )
})

/** What took more than 10 and at most 100. */
function ofBucket(now: Record<string, bigint>): bigint {
  return (now['took_bucket{le="100"}'] ?? 0n) - (now['took_bucket{le="10"}'] ?? 0n)
}

test('a directory that uWSGI has left is restored from, and what is no number in it counts as nothing', async (t) => {
  const dir = folder(t)
  const page = (text: string) => Buffer.concat([Buffer.from(text), Buffer.alloc(4096 - text.length)])
  const left = { hits: page('5\n'), never: page(''), broken: 'many', minus: '-9223372036854775808\n' }
  for (const [name, bytes] of Object.entries(left)) writeFileSync(join(dir, name), bytes)
  writeFileSync(join(dir, 'worker.1.requests'), page('1000\n'))
  mkdirSync(join(dir, 'folder'))
  const args = [
    '--metric',
    'hits',
    '--metric',
    'never',
    '--metric',
    'broken',
    '--metric',
    'minus',
    '--metric',
    'folder',
  ]
  const master = await run(t, [
    ...[...serve, ...args, '--metric', 'name=acc,collector=accumulator,children=never'],
    ...['--metrics-dir', dir, '--metrics-dir-restore', app('metrics.mjs')],
  ]).serving(2)
  const now = await values(master, '/inc/hits/2')
  assert.deepEqual([now.hits, now.never, now.broken, now.minus, now.folder], [7n, 0n, 0n, -(2n ** 63n), 0n])
  assert.ok(now['worker.1.requests']! >= 1000n && now['worker.2.requests']! < 1000n)
  await master.line(/metrics are not written to .*: (EISDIR|ENOTEMPTY)/)
  await until('all others are written', () => file(join(dir, 'hits')) === '7\n' && file(join(dir, 'broken')) === '0\n')
})

test('a directory that goes away is told once, and all is well when it is back', async (t) => {
  const dir = join(folder(t), 'metrics')
  mkdirSync(dir)
  const master = await run(t, [...serve, '--metric', 'hits', '--metrics-dir', dir, app('metrics.mjs')]).serving(2)
  await until('it is written', () => file(join(dir, 'hits')) === '0\n')
  await until('it is gone', () => {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
    return !existsSync(dir)
  })
  await values(master, '/inc/hits')
  await master.line(/metrics are not written to .*: ENOENT/)
  mkdirSync(dir)
  await until(
    'it is written again',
    async () => (await values(master, '/inc/hits')) && file(join(dir, 'hits')) !== null,
  )
  await master.line(/metrics are written to .* again/)
  await until('so are those that did not change', () => file(join(dir, 'core.unrouted_signals')) === '0\n')
  assert.equal(master.log.split('metrics are not written').length, 2)
})

// What the kernel says of a full disk, /dev/full says too.
test('on a full disk metrics go on in memory: told once, nothing else late, and written when there is room', async (t) => {
  const dir = join(folder(t), 'metrics')
  mkdirSync(dir)
  const master = await run(t, [
    ...serve,
    ...['--metric', 'hits', '--metric', 'name=one,initial_value=1'],
    ...['--metric', 'name=turns,collector=accumulator,children=one', '--metrics-dir', dir, app('metrics.mjs')],
  ]).serving(2)
  const hits = join(dir, 'hits')
  await until('it is written', () => file(hits) === '0\n')
  const begun = await turnsOf(master)
  symlinkSync('/dev/full', `${hits}~`)
  await values(master, '/inc/hits/5')
  await master.line(/metrics are not written to .*: ENOSPC/)
  await until('it has been full for a while', async () => (await turnsOf(master)).turns >= begun.turns + 3)
  assert.equal(file(hits), '0\n', 'the old value stays whole')
  const now = await turnsOf(master)
  assert.ok(Math.abs(now.turns - begun.turns - (now.at - begun.at) / 1000) < 1.5, 'collectors are not late')
  await until('other files are written', () => Number(file(join(dir, 'turns'))) >= now.turns)
  assert.equal((await values(master)).hits, 5n)
  rmSync(`${hits}~`)
  await master.line(/metrics are written to .* again/)
  assert.equal(file(hits), '5\n')
  assert.equal(master.log.split('metrics are not written').length, 2, 'told once')

  symlinkSync('/dev/full', `${hits}~`)
  await values(master, '/inc/hits/1')
  master.kill()
  assert.equal((await master.ended).status, 0, 'a disk that is full at the end is no failure')
  assert.equal(file(hits), '5\n')
})

test('a directory that is none is refused before anything starts', async (t) => {
  for (const [dir, code] of [
    ['/nowhere', 'ENOENT'],
    ['/dev/null', 'ENOTDIR'],
  ]) {
    const master = run(t, [...serve, '--metrics-dir', dir!, app('metrics.mjs')])
    assert.equal((await master.ended).status, 1)
    assert.match(master.log, new RegExp(`uwshm: --metrics-dir ${dir}: ${code}; name a directory that can be written`))
  }
})
