// Metrics as an application uses them, beside what uWSGI does with the same calls.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, UwsgiError, uwsgi } from 'uwshm'
import { metricsObject } from '../../dist/metrics/document.js'
import { metricAt } from '../../dist/metrics/registry.js'
import { native } from '../../dist/native.js'

const most = 2n ** 63n - 1n
const least = -(2n ** 63n)

/** All that write. */
const calls = ['metricSet', 'metricInc', 'metricDec', 'metricMul', 'metricDiv', 'metricSetMax', 'metricSetMin'] as const
const methods = ['set', 'inc', 'dec', 'mul', 'div', 'setMax', 'setMin'] as const

create({
  metric: [
    'n',
    'name=g,type=gauge,oid=100.1,initial_value=5',
    'name=al,type=alias,alias=n,oid=100.2',
    'name=x',
    'name=s,collector=sum,children=n',
  ],
  cache2: ['name=shelf,items=2'],
  metricsMax: 40,
  processes: 2,
  threads: 2,
  maxProcesses: 16,
})

test('each call does to a metric what uWSGI does, and more exactly', () => {
  const n = uwsgi.metric('n')
  const rows: [before: bigint, call: keyof typeof uwsgi, by: number | bigint, after: bigint][] = [
    [5n, 'metricSet', -7, -7n],
    [5n, 'metricInc', 3, 8n],
    [5n, 'metricDec', 7, -2n],
    [most, 'metricInc', 1, least],
    [least, 'metricDec', 1n, most],
    [2n ** 62n, 'metricMul', 4, 0n],
    [52n, 'metricDiv', -7, -7n],
    [least, 'metricDiv', -1, least],
    [5n, 'metricSetMax', 9, 9n],
    [5n, 'metricSetMax', 4, 5n],
    [5n, 'metricSetMin', 0, 0n],
    [5n, 'metricSetMin', -3, -3n],
    [5n, 'metricSetMin', 8, 5n],
    [0n, 'metricInc', 2 ** 53 - 1, 2n ** 53n - 1n],
    [0n, 'metricInc', most, most],
  ]
  for (const [before, call, by, after] of rows) {
    n.set(before)
    assert.equal((uwsgi[call] as (name: string, by: number | bigint) => boolean)('n', by), true, call)
    assert.equal(n.bigValue, after, `${before} ${call} ${by}`)
    assert.equal(uwsgi.metricGet('n'), Number(after))
  }
  const without: [before: number, call: (typeof calls)[number], after: number][] = [
    [7, 'metricSet', 1],
    [7, 'metricInc', 8],
    [7, 'metricDec', 6],
    [7, 'metricMul', 7],
    [7, 'metricDiv', 7],
    [0, 'metricSetMax', 1],
    [7, 'metricSetMin', 1],
  ]
  for (const [index, [before, call, after]] of without.entries()) {
    n.set(before)
    assert.equal(uwsgi[call]('n'), true, call)
    assert.equal(n.value, after, `${before} ${call}: one is what is meant when nothing is said`)
    n.set(before)
    n[methods[index]!]()
    assert.equal(n.value, after, `${before} ${methods[index]}`)
  }
})

test('a division by zero is refused and changes nothing', () => {
  uwsgi.metricSet('n', 9)
  assert.equal(uwsgi.metricDiv('n', 0), false)
  assert.equal(uwsgi.metric('n').div(0n), false)
  assert.equal(uwsgi.metricGet('n'), 9)
})

test('an unknown name is told apart from 0, and written by nobody', () => {
  assert.equal(uwsgi.metricGet('nope'), null)
  for (const call of calls) assert.equal(uwsgi[call]('nope', 1), false, call)
  assert.throws(() => uwsgi.metric('worker.1.request'), {
    code: 'UNKNOWN_METRIC',
    message: 'no metric named worker.1.request; did you mean worker.1.requests?',
  })
})

test('an alias, what is collected and what uwshm feeds can be read only', () => {
  uwsgi.metricSet('n', 3)
  assert.equal(uwsgi.metricGet('al'), 3)
  for (const name of ['al', 's', 'worker.0.requests', 'core.total_rss']) {
    for (const call of calls) assert.equal(uwsgi[call](name, 1), false, `${call} ${name}`)
    for (const method of methods)
      assert.throws(() => uwsgi.metric(name)[method](1), { code: 'METRIC_COMPUTED' }, `${method} ${name}`)
  }
  assert.equal(uwsgi.metricGet('n'), 3)
})

test('what is no whole number of 64 bits is a TypeError', () => {
  for (const wrong of [
    0.5,
    Number.NaN,
    Infinity,
    2 ** 53,
    most + 1n,
    '1' as unknown as number,
    null as unknown as number,
  ]) {
    for (const call of calls) assert.throws(() => uwsgi[call]('n', wrong), TypeError, `${call} ${wrong}`)
    for (const method of methods) assert.throws(() => uwsgi.metric('n')[method](wrong), TypeError, `${method} ${wrong}`)
  }
  assert.equal(uwsgi.metricGet('n'), 3)
})

test('a metric is found by its OID, an alias answers with its target', () => {
  assert.equal(metricAt('100.1')?.name, 'g')
  assert.equal(metricAt('100.2')?.name, 'n')
  assert.equal(metricAt('3.1.13')?.name, 'worker.1.failed_requests')
  assert.equal(metricAt('3.1.15')?.name, 'worker.1.running_time')
  assert.equal(metricAt('99'), undefined)
})

test('the document has every metric in order, with number, OID and value', () => {
  const rows = metricsObject()!
  assert.deepEqual(Object.keys(rows), uwsgi.metrics)
  assert.deepEqual(rows.g, { type: 1, oid: '100.1', value: 5 })
  assert.deepEqual(rows.al, { type: 3, oid: '', value: 3 }, 'an alias shows the OID of its target')
  assert.deepEqual(rows.rss_size, { type: 3, oid: '5.101', value: rows['core.total_rss']!.value })
  uwsgi.metricSet('x', most)
  const { value } = metricsObject()!.x!
  assert.ok(value < 2 ** 63 && value > 2 ** 62, 'a reader that knows 64 bits must be able to read it')
  uwsgi.metricSet('x', 0)
})

test('a cache is five metrics', () => {
  const cache = uwsgi.cache('shelf')
  for (const key of ['a', 'b', 'c']) cache.set(key, 'v')
  for (const key of ['a', 'b', 'a', 'c', 'c', 'd', 'd']) cache.get(key)
  const figures = ['items', 'hits', 'misses', 'full', 'repairs']
  assert.deepEqual(
    figures.map((figure) => uwsgi.metricGet(`cache.shelf.${figure}`)),
    [2, 3, 4, 1, 0],
  )
})

test('metrics are defined while the application runs; the second to define one finds it', () => {
  const orders = uwsgi.defineMetric('orders', { oid: '200.1', initialValue: 10 })
  orders.inc()
  assert.equal(uwsgi.defineMetric('orders').value, 11)
  assert.equal(uwsgi.metricGet('orders'), 11)
  assert.equal(metricAt('200.1')?.name, 'orders')
  uwsgi.defineMetric('twin', { oid: '200.1' })
  assert.equal(metricAt('200.1')?.name, 'orders', 'the first to have an OID answers')
  assert.throws(() => uwsgi.defineMetric('orders', { type: 'gauge' }), {
    code: 'METRIC_EXISTS',
    message: 'there is a metric named orders already, and it is no gauge; choose another name',
  })
  assert.throws(() => uwsgi.defineMetric('worker.0.requests'), { code: 'METRIC_EXISTS' })
  for (const name of ['', 'a b', 'a/b', 'x'.repeat(192)]) assert.throws(() => uwsgi.defineMetric(name), TypeError, name)
})

test('labels: one metric for each combination, up to the bound; the rest is counted together', () => {
  const requests = uwsgi.defineMetric('requests', { labels: ['method', 'status'], most: 3 })
  requests.labels('GET', '200').inc()
  requests.labels('GET', '404').inc(2)
  requests.labels('GET', '200').inc(10)
  requests.labels('PO"S\\T\n', '200').inc()
  assert.equal(uwsgi.metricGet('requests{method="GET",status="200"}'), 11)
  assert.equal(uwsgi.metricGet('requests{method="PO\\"S\\\\T\\n",status="200"}'), 1)
  const before = native.metricCount()
  for (let i = 0; i < 100; i++) requests.labels('GET', `made up ${i}`).inc()
  assert.equal(native.metricCount(), before, 'a stranger cannot fill the memory')
  assert.equal(requests.rest.value, 100)
  assert.equal(uwsgi.metricGet('requests'), 100)
  requests.labels('x'.repeat(300), '1').inc()
  assert.equal(requests.rest.value, 101)
  for (const wrong of [[], ['GET'], ['GET', '200', 'more'], ['GET', 200]] as string[][])
    assert.throws(() => requests.labels(...wrong), TypeError, JSON.stringify(wrong))
})

test('a histogram counts as Prometheus wants it', () => {
  const took = uwsgi.defineMetric('took', { buckets: [10, 100] })
  for (const ms of [3, 10, 11, 5000]) took.observe(ms)
  const shown = uwsgi.metrics.filter((name) => name.startsWith('took')).map((name) => [name, uwsgi.metricGet(name)])
  assert.deepEqual(shown, [
    ['took_bucket{le="10"}', 2],
    ['took_bucket{le="100"}', 3],
    ['took_bucket{le="+Inf"}', 4],
    ['took_count', 4],
    ['took_sum', 5024],
  ])
  assert.deepEqual([took.count, took.sum], [4, 5024])
  uwsgi.defineMetric('took', { buckets: [10, 100] }).observe(1)
  assert.equal(took.count, 5)
  assert.throws(() => took.observe(0.5), TypeError)
  assert.equal(took.count, 5)
  assert.throws(() => uwsgi.defineMetric('took', { buckets: [10, 200] }), { code: 'METRIC_EXISTS' })
  assert.throws(() => uwsgi.defineMetric('n', { buckets: [] }), TypeError)
  assert.throws(() => uwsgi.defineMetric('down', { buckets: [5, 5] }), TypeError)
})

test('when there is no room it is said how to get some', () => {
  let made = 0
  assert.throws(
    () => {
      for (; made < 100; made++) uwsgi.defineMetric(`filling-${made}`)
    },
    (error) =>
      error instanceof UwsgiError && error.code === 'METRICS_FULL' && /raise --metrics-max$/.test(error.message),
  )
  assert.ok(made > 0)
  assert.equal(native.checkMetrics(), null)
})
