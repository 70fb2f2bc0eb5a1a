// The models beside the engine, gone through in every state: and once with each of
// their faults, for a model that finds nothing proves nothing. UWSHM_FULL=1 goes through
// the cache's with longer chains, more chains and more writers: up to four minutes and 1.2 GB each.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { folder } from '../harness.ts'

const isFull = process.env.UWSHM_FULL === '1'
const lock = 'locks/owner_word.pml'
const cache = 'cache_change.pml'

interface Verdict {
  errors: number
  isComplete: boolean
  said: string
}

/** Goes through every state (`safety`), or every cycle of states that is fair to all (`liveness`). */
function explore(
  t: TestContext,
  model: string,
  what: 'safety' | 'liveness',
  defines: string[],
  optimize: string,
): Verdict | null {
  const cwd = folder(t)
  const run = (program: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' })
    assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  if (spawnSync('spin', ['-V']).status !== 0) return null
  const path = join(import.meta.dirname, '../../native/cpp', model)
  run('spin', ...defines.map((name) => `-D${name}`), '-a', path)
  const packed = model === cache ? ['-DCOLLAPSE'] : []
  const flags = what === 'safety' ? ['-DSAFETY', '-DNOCLAIM', ...packed] : ['-DNFAIR=3']
  run('cc', optimize, '-w', ...flags, '-o', 'pan', 'pan.c')
  const said = run('./pan', '-m1000000', ...(what === 'safety' ? [] : ['-a', '-f']))
  return {
    errors: Number(/errors: (\d+)/.exec(said)?.[1]),
    isComplete: !/Search not completed|max search depth/.test(said),
    said: `${/pan:1: .*/.exec(said)?.[0]}, ${/\S+ states, stored/.exec(said)?.[0]}`,
  }
}

const whole = [
  [lock, 'safety', [], 'three processes and two deaths: nobody is robbed, and nobody meets what a dead one left'],
  [lock, 'liveness', [], 'three processes and two deaths: what a dead one held does not stay wanted'],
  [
    cache,
    'safety',
    [],
    'two writers, a reader, two keys and two deaths: no slot is lost, no write that was acknowledged, no repair',
  ],
] as const
const larger = [
  [cache, 'safety', ['STRIPES=2'], 'the same with two stripes'],
  [cache, 'safety', ['ITEMS=2'], 'the same with chains of two'],
  [cache, 'safety', ['WRITERS=3'], 'the same when all three write and read'],
] as const

for (const [model, what, defines, title] of [...whole, ...(isFull ? larger : [])])
  test(title, (t) => {
    const verdict = explore(t, model, what, [...defines], '-O2')
    if (verdict === null) return t.skip('missing: spin (Debian: spin)')
    assert.deepEqual([verdict.errors, verdict.isComplete], [0, true], verdict.said)
    t.diagnostic(verdict.said.replace('undefined, ', ''))
  })

for (const [model, defines, what, meaning, finding] of [
  [lock, 'ROB', 'safety', 'a lock taken from the living', /assertion violated/],
  [lock, 'WIPE', 'safety', "a dead one's name wiped before the repair", /assertion violated .*torn/],
  [lock, 'BLIND', 'liveness', 'a dead holder that nobody looks for', /acceptance cycle/],
  [cache, 'STILL CRASHES=0', 'safety', 'a slot used again before the sequence moves', /assertion violated .*may/],
  [cache, 'BLIND CRASHES=0', 'safety', 'a reader that does not look at the sequence again', /assertion violated .*may/],
  [cache, 'LATE', 'safety', 'an intent armed after the link was stored', /assertion violated/],
  [cache, 'FORGETS', 'safety', 'a repair that forgets the spare', /assertion violated/],
  [cache, 'HASTY', 'safety', 'a repairer that takes the name off too early', /assertion violated/],
  [cache, 'STUCK', 'safety', 'a lock of the dead that nobody may take', /invalid end state/],
] as const)
  test(`${model === lock ? "the lock's" : "the cache's"} model finds ${meaning}`, (t) => {
    const verdict = explore(t, model, what, defines.split(' '), '-O0')
    if (verdict === null) return t.skip('missing: spin (Debian: spin)')
    assert.equal(verdict.errors, 1)
    assert.match(verdict.said, finding)
  })
