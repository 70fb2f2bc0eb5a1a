// The model beside the lock engines, gone through in every state: and once with each
// of its faults, for a model that finds nothing proves nothing.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { folder } from '../harness.ts'

const model = join(import.meta.dirname, '../../native/cpp/locks/owner_word.pml')

interface Verdict {
  errors: number
  isComplete: boolean
  said: string
}

/** Goes through every state (`safety`), or every cycle of states that is fair to all (`liveness`). */
function explore(t: TestContext, what: 'safety' | 'liveness', fault?: string): Verdict | null {
  const cwd = folder(t)
  const run = (program: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' })
    assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  if (spawnSync('spin', ['-V']).status !== 0) return null
  run('spin', ...(fault ? [`-D${fault}`] : []), '-a', model)
  run('cc', '-O2', '-w', ...(what === 'safety' ? ['-DSAFETY', '-DNOCLAIM'] : ['-DNFAIR=3']), '-o', 'pan', 'pan.c')
  const said = run('./pan', '-m1000000', ...(what === 'safety' ? [] : ['-a', '-f']))
  return {
    errors: Number(/errors: (\d+)/.exec(said)?.[1]),
    isComplete: !/Search not completed|max search depth/.test(said),
    said: `${/pan:1: .*/.exec(said)?.[0]}, ${/\d+ states, stored/.exec(said)?.[0]}`,
  }
}

for (const [what, promise] of [
  ['safety', 'nobody is robbed, and nobody meets what a dead one left'],
  ['liveness', 'what a dead one held does not stay wanted'],
] as const)
  test(`three processes and two deaths: ${promise}`, (t) => {
    const verdict = explore(t, what)
    if (verdict === null) return t.skip('missing: spin (Debian: spin)')
    assert.deepEqual([verdict.errors, verdict.isComplete], [0, true], verdict.said)
    t.diagnostic(verdict.said.replace('undefined, ', ''))
  })

for (const [fault, what, meaning, finding] of [
  ['ROB', 'safety', 'a lock taken from the living', /assertion violated/],
  ['WIPE', 'safety', "a dead one's name wiped before the repair", /assertion violated .*torn/],
  ['BLIND', 'liveness', 'a dead holder that nobody looks for', /acceptance cycle/],
] as const)
  test(`the model finds ${meaning}`, (t) => {
    const verdict = explore(t, what, fault)
    if (verdict === null) return t.skip('missing: spin (Debian: spin)')
    assert.equal(verdict.errors, 1)
    assert.match(verdict.said, finding)
  })
