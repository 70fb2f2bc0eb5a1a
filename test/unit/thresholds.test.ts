// When a threshold speaks, and when it is silent; the clock is the test's.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Threshold } from '../../src/metrics/thresholds.ts'
import { completeOptions } from '../../src/options.ts'

/** A threshold as the option says it, and what it raises. */
function threshold(text: string) {
  const raised: string[] = []
  let isTaken = true
  const [options] = completeOptions({ metricThreshold: [`key=m,alarm=a,${text}`] }).metricThreshold
  const plan = { options: options!, index: 0, target: 0, isCounted: true, isCollected: false, freq: 1 }
  const one = new Threshold(plan, (_, message) => {
    if (isTaken) raised.push(message)
    return isTaken
  })
  return {
    raised,
    take: (on: boolean) => {
      isTaken = on
    },
    /** What is raised at that second. */
    look(value: number | bigint, second = 0): string[] {
      raised.length = 0
      one.look(BigInt(value), 1000 * second)
      return [...raised]
    },
  }
}

test('each comparison holds where it says, and nowhere else', () => {
  const held = { ge: [5, 6], gt: [6], le: [4, 5], lt: [4], eq: [5], ne: [4, 6] }
  for (const [op, values] of Object.entries(held))
    for (const value of [4, 5, 6])
      assert.deepEqual(
        threshold(`value=5,op=${op}`).look(value),
        values.includes(value) ? ['m'] : [],
        `${value} ${op} 5`,
      )
  assert.deepEqual(threshold('value=5').look(5), ['m'], 'ge, when nothing is said')
  assert.deepEqual(threshold('value=-9223372036854775808').look(-(2n ** 63n)), ['m'])
  assert.deepEqual(threshold('value=9223372036854775807').look(2n ** 63n - 2n), [])
})

test('without clear it speaks at each look, or at most every rate seconds', () => {
  const always = threshold('value=5,msg=too many\\, by far')
  assert.deepEqual(
    [0, 1, 2].flatMap((second) => always.look(5, second)),
    Array(3).fill('too many, by far'),
  )
  const rated = threshold('value=5,rate=3')
  const spoke = [0, 1, 2, 3, 4, 5, 6].filter((second) => rated.look(5, second).length > 0)
  assert.deepEqual(spoke, [0, 3, 6])
})

test('what the alarm has dropped does not count for the rate', () => {
  const { look, take } = threshold('value=5,rate=10')
  take(false)
  assert.deepEqual(look(5, 0), [])
  take(true)
  assert.deepEqual(look(5, 1), ['m'])
  assert.deepEqual(look(5, 2), [])
})

test('with clear it speaks once, and once more when the metric is back', () => {
  for (const [text, steps] of [
    ['value=100,clear=80', [[99], [100, 'm'], [150], [81], [100], [80, 'cleared: m'], [99], [80], [100, 'm']]],
    ['value=100,op=gt,clear=100', [[100], [101, 'm'], [100, 'cleared: m']]],
    ['value=10,op=le,clear=20', [[11], [10, 'm'], [19], [20, 'cleared: m']]],
    ['value=10,op=lt,clear=10', [[10], [9, 'm'], [10, 'cleared: m']]],
  ] as [string, [number, string?][]][]) {
    const { look } = threshold(text)
    for (const [second, [value, ...said]] of steps.entries())
      assert.deepEqual(look(value, second), said, `${text} at ${value}`)
  }
})

test('with clear and a rate it reminds of itself; with either word dropped it says it at the next look', () => {
  const { look, take } = threshold('value=5,clear=4,rate=2')
  assert.deepEqual(
    [0, 1, 2, 3, 4].filter((second) => look(5, second).length > 0),
    [0, 2, 4],
  )
  take(false)
  assert.deepEqual(look(4, 5), [])
  take(true)
  assert.deepEqual(look(4, 6), ['cleared: m'])
  assert.deepEqual(look(4, 7), [])
})
