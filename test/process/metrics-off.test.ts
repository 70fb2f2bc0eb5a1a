// Without --enable-metrics, or an option that says so: nothing is stored, nothing is
// found, and whoever asks for a handle is told which option is missing. So is whoever
// asks for a cache without --cache2. Without --alarm nobody hears.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, uwsgi } from 'uwshm'
import { metricsObject } from '../../dist/metrics/document.js'

create({ processes: 2 })

test('with metrics off every read finds nothing, every write is refused, and handles name the option', () => {
  assert.equal(uwsgi.metricGet('worker.0.requests'), null)
  for (const call of [
    'metricSet',
    'metricInc',
    'metricDec',
    'metricMul',
    'metricDiv',
    'metricSetMax',
    'metricSetMin',
  ] as const)
    assert.equal(uwsgi[call]('worker.0.requests', 1), false, call)
  assert.deepEqual(uwsgi.metrics, [])
  assert.equal(metricsObject(), undefined, 'the statistics have no metrics then')
  const isOff = { code: 'METRICS_OFF', message: /--enable-metrics/ }
  assert.throws(() => uwsgi.metric('worker.0.requests'), isOff)
  assert.throws(() => uwsgi.defineMetric('orders'), isOff)
  assert.throws(() => uwsgi.defineMetric('orders', { labels: ['state'] }), isOff)
  assert.throws(() => uwsgi.defineMetric('took', { buckets: [1] }), isOff)
})

test('without any cache a call says how to start with one', () => {
  const none = {
    code: 'UNKNOWN_CACHE',
    message: 'no cache named (the first one); known: none; start with --cache2',
  }
  assert.throws(() => uwsgi.cacheGet('k'), none)
  assert.throws(() => uwsgi.cache(), none)
})

test('without --alarm an alarm is raised for nobody, and that is told', () => {
  assert.equal(uwsgi.alarm('lg', 'x'), false)
})
