// What the options make of the metrics: uWSGI's list in uWSGI's order, and what
// a --metric may say.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UwsgiError } from '../../src/errors.ts'
import { types } from '../../src/metrics/kinds.ts'
import { planMetrics } from '../../src/metrics/plan.ts'
import { parseOptions } from '../../src/options.ts'

const plan = (...words: string[]) => planMetrics(parseOptions(words))

function refusal(...metrics: string[]): string {
  try {
    plan(...metrics.flatMap((one) => ['--metric', one]))
  } catch (error) {
    assert.ok(error instanceof UwsgiError, String(error))
    return error.message
  }
  assert.fail(`${metrics.join(' ')} was taken`)
}

/** name type oid of uWSGI 2.0 with 2 processes of 2 threads and 2 sockets, as it prints them. */
function uwsgiList(): string[] {
  const worker = (n: number) => [
    `worker.${n}.requests 0 3.${n}.1`,
    `worker.${n}.delta_requests 2 3.${n}.2`,
    `worker.${n}.failed_requests 0 3.${n}.13`,
    `worker.${n}.respawns 0 3.${n}.14`,
    `worker.${n}.avg_response_time 1 3.${n}.8`,
    `worker.${n}.total_tx 0 3.${n}.9`,
    `worker.${n}.rss_size 1 3.${n}.11`,
    `worker.${n}.vsz_size 1 3.${n}.12`,
    `worker.${n}.running_time 0 3.${n}.13`,
  ]
  const core = (n: number, m: number) => [
    `worker.${n}.core.${m}.requests 0 3.${n}.2.${m}.1`,
    `worker.${n}.core.${m}.write_errors 0 3.${n}.2.${m}.3`,
    `worker.${n}.core.${m}.routed_requests 0 3.${n}.2.${m}.4`,
    `worker.${n}.core.${m}.static_requests 0 3.${n}.2.${m}.5`,
    `worker.${n}.core.${m}.offloaded_requests 0 3.${n}.2.${m}.6`,
    `worker.${n}.core.${m}.exceptions 0 3.${n}.2.${m}.7`,
    `worker.${n}.core.${m}.read_errors 0 3.${n}.2.${m}.8`,
  ]
  return [
    'core.routed_signals 0 5.1',
    'core.unrouted_signals 0 5.2',
    'core.busy_workers 1 5.3',
    'core.idle_workers 1 5.4',
    'core.overloaded 0 5.5',
    ...worker(0),
    ...[1, 2].flatMap((n) => [...worker(n), ...core(n, 0), ...core(n, 1)]),
    'core.total_tx 0 5.100',
    'core.total_rss 1 5.101',
    'core.total_vsz 1 5.102',
    'core.avg_response_time 1 5.103',
    'core.total_running_time 0 5.104',
    'socket.0.listen_queue 1 7.0.1',
    'socket.1.listen_queue 1 7.1.1',
    'rss_size 3 5.101',
    'vsz_size 3 5.102',
  ]
}

test('without --enable-metrics, or an option that says so, there are none', () => {
  assert.equal(plan().slots, 0)
  for (const words of [['--enable-metrics'], ['--metric', 'n'], ['--metrics-no-cores'], ['--metrics-dir', '/tmp']])
    assert.ok(plan(...words).slots > 0, words.join(' '))
})

test('the first 69 of two workers with two cores are those of uWSGI, but for the OID that was given twice', () => {
  const group = '--enable-metrics -p 2 --threads 2 --http-socket :1 --http-socket :2'.split(' ')
  const { rows } = plan(...group)
  const ours = rows.slice(0, 69).map(([name, oid, type, , , target]) => {
    return `${name} ${type} ${types[type] === 'alias' ? rows[target]![1] : oid}`
  })
  const expected = uwsgiList().map((line) => line.replace(/^(worker.*running_time 0 3\.\d\.)13$/, '$115'))
  assert.equal(expected.length, 69)
  assert.deepEqual(ours, expected)
  const oids = rows.map(([, oid]) => oid).filter((oid) => oid !== '')
  assert.equal(new Set(oids).size, oids.length, 'an OID is given twice')
})

test('--metrics-no-cores leaves the cores out', () => {
  const names = (...words: string[]) => plan(...words).rows.filter(([name]) => name.includes('.core.')).length
  assert.equal(names('--enable-metrics', '-p', '2', '--threads', '3'), 2 * 3 * 7)
  assert.equal(names('--metrics-no-cores', '-p', '2', '--threads', '3'), 0)
})

test('a name alone is a counter; the keys say the rest', () => {
  const { rows, collected, custom } = plan(
    ...['--metric', 'simple', '--metric', 'name=g,type=gauge,oid=100.1,initial_value=-30'],
    ...['--metric', 'name=load,collector=file,arg1=/proc/a\\,b,arg1n=2,scale=100,freq=0'],
    ...['--metric', 'name=m,collector=manual', '--metric', 'name=all,collector=sum,children=simple;g'],
  )
  assert.deepEqual(custom, ['simple', 'g', 'load', 'm', 'all'])
  assert.deepEqual(rows.at(-5), ['simple', '', 0, 0, '', 0, 0, 0n])
  assert.deepEqual(rows.at(-4), ['g', '100.1', 1, 0, '', 0, 0, -30n])
  const [load, all] = collected
  assert.equal(load!.options.arg1, '/proc/a,b')
  assert.equal(load!.options.freq, 1)
  assert.deepEqual(all!.children, [rows.length - 5, rows.length - 4])
})

test('a value begins after the first =, and names are told apart by case', () => {
  const { rows, collected } = plan(
    ...['--metric', 'name=f,collector=file,arg1=/tmp/a=b=c', '--metric', 'F', '--metric', '0.-_'],
  )
  assert.equal(collected[0]!.options.arg1, '/tmp/a=b=c')
  assert.deepEqual(
    rows.slice(-3).map(([name]) => name),
    ['f', 'F', '0.-_'],
  )
})

test('a name that is there already is replaced where it stands', () => {
  const before = plan('--enable-metrics').rows
  const { rows, stored } = plan('--metric', 'name=worker.0.rss_size,type=gauge,oid=9.9')
  const index = before.findIndex(([name]) => name === 'worker.0.rss_size')
  assert.equal(rows.length, before.length)
  assert.deepEqual(rows[index], ['worker.0.rss_size', '9.9', 1, 0, '', 0, 0, 0n])
  assert.ok(!stored.has('worker.0.rss_size'), 'the master would write to it')
})

test('an alias shows another metric, also by way of an alias, and its initial_value is the target’s', () => {
  const { rows } = plan(
    ...['--metric', 'n', '--metric', 'name=a,type=alias,alias=n,initial_value=7'],
    ...['--metric', 'name=b,type=alias,alias=a,oid=1.1'],
  )
  const target = rows.length - 3
  assert.equal(rows[target]![7], 7n)
  assert.deepEqual([rows.at(-2)![5], rows.at(-1)![5], rows.at(-1)![1]], [target, target, '1.1'])
})

test('what is wrong with a --metric is told before anything starts', () => {
  const rows: [metrics: string | string[], sentence: RegExp][] = [
    ['name=a b', /--metric: name: 'a b' is not a name of letters/],
    ['a/b', /'a\/b' is not a name of letters/],
    ['name=', /name: '' is not a name of letters|name is missing/],
    ['x,type=gauge', /--metric/],
    ['name=a,freq=soon', /freq: 'soon' is not a whole number/],
    ['name=a,arg1n=1.5', /arg1n: '1.5' is not a whole number/],
    ['name=a,oid=x.1', /oid: 'x.1' is not digits and dots/],
    ['name=a,type=sum', /type: 'sum' is not one of counter, gauge, absolute, alias/],
    ['type=gauge', /name is missing; write it like name=orders/],
    ['name=a,collecter=sum', /unknown key collecter; did you mean collector\?/],
    ['name=a,initial_value=1x', /'1x' is not a whole number from -2\^63/],
    ['name=a,initial_value=9223372036854775808', /not a whole number from -2\^63 to 2\^63-1/],
    ['name=a,freq=-1', /freq: '-1' is not a whole number/],
    ['name=a,collector=nope', /metric a: no collector named nope; known: manual, file, sum/],
    ['name=a,collector=ptr', /collector=ptr reads shared areas/],
    ['name=a,collector=sum', /metric a: collector=sum needs children=NAME;NAME/],
    ['name=a,collector=file', /collector=file needs arg1=PATH/],
    ['name=a,collector=func,arg1=./x.ts', /collector=func needs arg1=.\/module.ts:function/],
    ['name=a,collector=sum,children=later', /metric a needs later, and there is none before it/],
    ['name=a,collector=sum,children=a', /metric a needs a/],
    ['name=a,type=alias', /alias is missing/],
    ['name=a,alias=core.overloaded', /type=alias is missing/],
    ['name=a,type=alias,alias=nope', /metric a needs nope/],
    [['a', 'b', 'name=a,type=alias,alias=b'], /there is a metric named a already, and it is no alias/],
  ]
  for (const [metrics, sentence] of rows) assert.match(refusal(...[metrics].flat()), sentence)
  assert.throws(() => parseOptions(['--metrics-dir-restore']), /possible without --metrics-dir/)
})

test('reset_after_push=0 is off, a flag alone is on', () => {
  const read = (text: string) => parseOptions(['--metric', text]).metric[0]!.reset_after_push
  assert.deepEqual(
    [read('name=a,reset_after_push=0'), read('name=a,reset_after_push'), read('name=a')],
    [false, true, false],
  )
})
