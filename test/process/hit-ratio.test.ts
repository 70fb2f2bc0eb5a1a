// Each policy keeps what its simulator keeps, request by request. `npm run bench` measures
// the same at length, and by many processes at once: docs/hit-ratio.md.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, uwsgi } from 'uwshm'
import { lru, patientSieve, sieve } from '../../bench/policies.ts'
import { engine, hits, largestOf, traceOf } from '../../bench/trace.ts'

const policies = ['lru', 'lru-strict', 'sieve'] as const
const sizes = [100, 600] // with the larger one two items share a place in the table of notes
create({
  cache2: policies.flatMap((policy) =>
    sizes.map((items) => ({ name: `${policy} ${items}`, items, blocksize: 8, policy })),
  ),
})

const scans = { every: 2_000, length: 300 }
const trace = traceOf({ keys: 5_000, skew: 1, requests: 40_000, scans, seed: 1 })
const largest = largestOf(trace)

for (const policy of policies)
  test(`policy=${policy} answers each request as its simulator does`, () => {
    for (const items of sizes) {
      const ours = engine(uwsgi.cache(`${policy} ${items}`))
      const simulated = (policy === 'sieve' ? patientSieve : lru)(items, largest)
      trace.forEach((key, at) => {
        const answer = simulated(key)
        if (ours(key) !== answer)
          assert.fail(`request ${at}, key ${key}, ${items} items: it should have been a ${answer ? 'hit' : 'miss'}`)
      })
    }
  })

test('our sieve hits about as often as the published one, and more often than LRU', () => {
  for (const items of sizes) {
    const [ours, published, exact] = [patientSieve, sieve, lru].map(
      (simulator) => (100 * hits(simulator(items, largest), trace)) / trace.length,
    ) as [number, number, number]
    assert.ok(Math.abs(ours - published) < 1, `${items} items: ${ours} % hits, the published one ${published} %`)
    assert.ok(ours > exact + 3, `${items} items: ${ours} % hits, LRU ${exact} %`)
  }
})
