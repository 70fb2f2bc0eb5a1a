// The pause before a dead worker is replaced.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Patience } from '../../src/respawn.ts'

const pauses = (served: (number | null)[]) => {
  const patience = new Patience()
  return served.map((one) => patience.afterDeath(one))
}

test('a worker that served a while comes back at once, however often it dies', () => {
  assert.deepEqual(pauses(Array(50).fill(5000)), Array(50).fill(0))
})

test('one that is killed comes back at once, however young', () => {
  const patience = new Patience()
  for (let i = 0; i < 50; i++) assert.equal(patience.afterDeath(1, true), 0)
})

test('one that ends young again and again waits a little, and always below a second', () => {
  const all = pauses(Array(100).fill(10))
  assert.equal(all[0], 0)
  assert.ok(all.every((pause, index) => pause >= (all[index - 1] ?? 0)))
  assert.equal(Math.max(...all), 800)
})

test('one that never serves waits twice as long each time, ten seconds at most', () => {
  assert.deepEqual(pauses(Array(9).fill(null)), [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
})

test('having served makes up for failures', () => {
  assert.deepEqual(pauses([null, null, 5000, null]), [100, 200, 0, 100])
})
