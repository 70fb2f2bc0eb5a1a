// One alarm: floods stay outside, slow and broken actions stay inside.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Alarm } from '../../src/alarms/alarm.ts'
import type { Action } from '../../src/alarms/contract.ts'

/** What is written to the log meanwhile. */
function logOf(t: TestContext): string[] {
  const lines: string[] = []
  t.mock.method(process.stderr, 'write', (text: string) => {
    lines.push(text.trimEnd())
    return true
  })
  return lines
}

/** An action that ends when it is told to. */
function slow() {
  const raised: string[] = []
  let end = () => {}
  const action: Action = {
    raise(message) {
      raised.push(message)
      return new Promise((resolve) => {
        end = resolve
      })
    },
  }
  return { action, raised, end: () => end() }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('what was said less than --alarm-freq ago is not said again, also when something else was said between', async () => {
  const raised: string[] = []
  const alarm = new Alarm('a', { raise: (message) => void raised.push(message) }, 3000)
  for (const [message, nowMs, isRaised] of [
    ['one', 0, true],
    ['one', 2999, false],
    ['two', 2999, true],
    ['one', 2999, false],
    ['one', 3000, true],
    ['two', 5998, false],
    ['two', 5999, true],
    ['one', 6000, true],
  ] as const)
    assert.equal(alarm.raise(message, nowMs), isRaised, `${message} at ${nowMs}`)
  await alarm.idle
  assert.deepEqual(raised, ['one', 'two', 'one', 'two', 'one'])
})

test('a slow action gets one message at a time; the queue is short, and what it loses is told once', async (t) => {
  const { action, raised, end } = slow()
  const alarm = new Alarm('a', action, 3000)
  const lines = logOf(t)
  const taken = Array.from({ length: 200 }, (_, i) => alarm.raise(`message ${i}`, i)).filter(Boolean).length
  assert.equal(raised.length, 1)
  assert.equal(taken, 65, 'one under way, 64 that wait')
  assert.deepEqual(lines, ['[uwsgi-alarm] a: 64 messages wait, further ones are dropped'])
  for (let i = 1; i <= taken; i++) {
    assert.equal(raised.length, i)
    end()
    await turn()
  }
  await alarm.idle
  assert.deepEqual(lines.slice(1), ['[uwsgi-alarm] a: 135 messages were dropped'])
})

test('an action without end is given up when its time is over, and the next message is served', async (t) => {
  const lines = logOf(t)
  const aborted: string[] = []
  const raised: string[] = []
  const action: Action = {
    patienceMs: 5,
    raise(message, deadline) {
      raised.push(message)
      if (message === 'good') return
      deadline.addEventListener('abort', () => aborted.push(message))
      return new Promise(() => {})
    },
  }
  const alarm = new Alarm('a', action, 3000)
  for (const message of ['first', 'second', 'good']) alarm.raise(message)
  const alive = setInterval(() => {}, 1000) // as a master is; a deadline alone keeps nobody alive
  await alarm.idle
  clearInterval(alive)
  assert.deepEqual(raised, ['first', 'second', 'good'])
  assert.deepEqual(aborted, ['first', 'second'])
  assert.deepEqual(lines, [
    '[uwsgi-alarm] a: a message was lost: no end within 0.005 seconds',
    '[uwsgi-alarm] a: works again',
  ])
})

test('a failure is told once, another one too, and the end of it', async (t) => {
  const lines = logOf(t)
  const outcomes = ['broken', 'broken', 'worse', '', '', 'broken']
  const alarm = new Alarm('a', { raise: () => fail(outcomes.shift()!) }, 3000)
  for (let i = 0; i < 6; i++) alarm.raise(String(i))
  await alarm.idle
  assert.deepEqual(
    lines.map((line) => line.replace('[uwsgi-alarm] a: ', '')),
    ['a message was lost: broken', 'a message was lost: worse', 'works again', 'a message was lost: broken'],
  )
})

function fail(with_: string): void {
  if (with_ !== '') throw new Error(with_)
}
