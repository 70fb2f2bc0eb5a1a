// Many processes and threads count at once, some are killed on the way, and
// nothing is lost; and nobody has to be alive for the numbers to be read.
//
// UWSHM_TEST_COUNTS: increments of each thread (50,000; the long form is 1,000,000).

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { type TestContext, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { create, uwsgi } from 'uwshm'
import { metricsObject } from '../../dist/metrics/document.js'
import { native } from '../../dist/native.js'
import { app, until } from '../harness.ts'

const counts = Number(process.env.UWSHM_TEST_COUNTS ?? 50_000)
const isFull = process.env.UWSHM_FULL === '1'
const package_ = new URL('../../dist/index.js', import.meta.url).href

create({
  metric: ['n', 'big', 'first', 'second', 'by-threads'],
  metricsMax: 1100,
  processes: 64,
  threads: 8,
})

function start(t: TestContext, ...args: (string | number)[]): ChildProcess {
  const child = fork(app('counts.mjs'), args.map(String), { env: { ...process.env, TEST_PACKAGE: package_ } })
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return child
}

function says(child: ChildProcess, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`it ended with ${code}`)))
    child.on('message', (message) => message === what && resolve())
  })
}

test(`8 processes, 2 of them with 4 threads, count to ${counts} each: exact`, { timeout: 280_000 }, async (t) => {
  const threads = [4, 4, 1, 1, 1, 1, 1, 1]
  const children = threads.map((some) => start(t, some, counts))
  await Promise.all(children.map((child) => says(child, 'done')))
  assert.equal(uwsgi.metric('n').bigValue, BigInt(14 * counts))
  assert.equal(uwsgi.metric('big').bigValue, BigInt.asIntN(64, 14n * 100n * 2n ** 60n))
  assert.equal(native.checkMetrics(), null)
  // They end, and their threads' cells stay.
  for (const child of children) child.send('end')
  await Promise.all(children.map((child) => once(child, 'exit')))
  assert.equal(uwsgi.metric('n').bigValue, BigInt(14 * counts))
  t.diagnostic(`${uwsgi.metric('n').bigValue} of ${14 * counts} counts by 14 threads`)
})

test('processes killed while they count lose at most the count in flight, and who follows goes on', async (t) => {
  const [first, second] = [uwsgi.metric('first'), uwsgi.metric('second')]
  const kills = isFull ? 100 : 5
  for (let i = 0; i < kills; i++) {
    const child = start(t, 1, 1, 'forever')
    const before = second.value
    await until('it counts', () => second.value > before + 10_000)
    child.kill('SIGKILL')
    await once(child, 'close')
    await until('its slot is free', () => native.processes().length === 1 || native.reclaim() > 0)
  }
  const lost = first.value - second.value
  t.diagnostic(`${kills} processes killed among ${second.value} counts: ${lost} counts in flight`)
  assert.ok(lost >= 0 && lost <= kills, `${lost}: each was between the two at most once`)
  assert.equal(native.checkMetrics(), null)
})

test('threads that are ended while they count leave what they have counted to the next', async (t) => {
  const seen = new BigInt64Array(new SharedArrayBuffer(8))
  const code = `const { workerData, parentPort } = require('node:worker_threads')
    import(${JSON.stringify(package_)}).then(({ uwsgi }) => {
      const metric = uwsgi.metric('by-threads')
      parentPort.postMessage('counts')
      for (;;) { metric.inc(); Atomics.add(workerData, 0, 1n) }
    })`
  const rounds = isFull ? 200 : 20
  for (let i = 0; i < rounds; i++) {
    const thread = new Worker(code, { eval: true, workerData: seen })
    await once(thread, 'message')
    await until('it counts', () => Atomics.load(seen, 0) > BigInt(i * 1000))
    await thread.terminate()
  }
  const lost = Atomics.load(seen, 0) - uwsgi.metric('by-threads').bigValue
  t.diagnostic(`${rounds} threads ended among ${Atomics.load(seen, 0)} counts: ${-lost} counts in flight`)
  assert.ok(lost <= 0n && lost >= -BigInt(rounds), `${lost}: each was between the two at most once`)
})

test('64 threads, 1,000 metrics, all stopped: the document is made within 20 ms', async (t) => {
  for (let i = 0; i < 1000; i++) uwsgi.defineMetric(`many-${i}`)
  const processes = isFull ? 64 : 4
  const children = Array.from({ length: processes }, () => start(t, 64 / processes, 10))
  await Promise.all(children.map((child) => says(child, 'done')))
  for (const child of children) child.kill('SIGSTOP')
  await until('all are stopped', () => children.every(({ pid }) => isStopped(pid!)))
  const times: number[] = []
  let text = ''
  for (let i = 0; i < 30; i++) {
    const begun = performance.now()
    text = JSON.stringify(metricsObject())
    times.push(performance.now() - begun)
  }
  const median = times.toSorted((a, b) => a - b)[15]!
  t.diagnostic(
    `${Object.keys(JSON.parse(text) as object).length} metrics, ${text.length} bytes: ${median.toFixed(1)} ms`,
  )
  // A machine that does something else meanwhile is no fault of the document.
  assert.ok(median < (availableParallelism() > 1 ? 20 : 60), `${median} ms`)
})

function isStopped(pid: number): boolean {
  return /^State:\tT/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
}
