// Counts in as many threads as it is told, and says so; then it waits, or goes on
// for ever. Started by test/process/metrics-workers.test.ts, as worker threads too.
//
//   counts.mjs THREADS COUNTS [forever]

import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

const { uwsgi } = await import(process.env.TEST_PACKAGE)
const [threads, counts, mode] = isMainThread ? process.argv.slice(2) : workerData

function count() {
  const metric = uwsgi.metric('n')
  const big = uwsgi.metric('big')
  for (let i = 0; i < Number(counts); i++) metric.inc()
  for (let i = 0; i < 100; i++) big.inc(2n ** 60n) // wraps, again and again
}

if (isMainThread) {
  const ends = []
  for (let i = 1; i < Number(threads); i++) {
    const thread = new Worker(new URL(import.meta.url), { workerData: [1, counts, mode] })
    ends.push(new Promise((resolve) => thread.once('message', resolve)))
  }
  if (mode === 'forever') {
    const [first, second] = [uwsgi.metric('first'), uwsgi.metric('second')]
    for (;;) {
      first.inc()
      second.inc()
    }
  }
  count()
  await Promise.all(ends)
  process.send('done')
  process.on('message', () => process.exit())
} else {
  count()
  parentPort.postMessage('done')
  parentPort.on('message', () => {}) // it stays, until its process ends
}
