// The programs in test/crash, which kill the engine wherever they can. One entry
// each, so that a failure shows in the same list as everything else. Their long
// forms, with every engine of the locks, are scripts/crash-proof.mjs and lock-proof.mjs.

import { strict as assert } from 'node:assert'
import { readdirSync } from 'node:fs'
import { release } from 'node:os'
import { test } from 'node:test'
import { make, run } from './programs.ts'

const programs = readdirSync(`${import.meta.dirname}/../crash`).filter((name) => name.endsWith('.cpp'))

for (const source of programs) {
  const name = source.replace('.cpp', '')

  test(`the engine survives test/crash/${source}`, (t) => {
    make(`out/plain/${name}`)
    const { status, output } = run(`out/plain/${name}`)
    assert.equal(status, 0, output)
    for (const line of output.trim().split('\n').slice(-3)) t.diagnostic(line)
  })
}

// The first engine has had its turn above. With the others it is about the locks, no
// longer about the cache.
for (const engine of ['ipcsem', 'posixsem', 'futex'])
  for (const [program, ...args] of [
    ['storm', '200', '--engine', engine],
    ['storm', '100', '--mode', 'rescuer', '--engine', engine],
    ['lock_storm', '400', '--engine', engine],
  ] as const)
    test(`the engine survives ${program} ${args.join(' ')}`, (t) => {
      make(`out/plain/${program}`)
      const { status, output } = run(`out/plain/${program}`, ...args)
      assert.equal(status, 0, output)
      t.diagnostic(output.trim().split('\n').at(-2) ?? '')
    })

// Other kinds of caches: values over several blocks, in files, with checksums, and the other policies.
for (const kind of ['--bitmap', '--store --policy lru-strict', '--checksum --policy sieve', '--bitmap --checksum'])
  test(`the engine survives storm ${kind}`, (t) => {
    make('out/plain/storm')
    const { status, output } = run('out/plain/storm', process.env.UWSHM_FULL ? '2000' : '100', ...kind.split(' '))
    assert.equal(status, 0, output)
    t.diagnostic(output.trim().split('\n').at(-2) ?? '')
  })

test('with few process ids, each soon used again, nobody is taken for another', (t) => {
  // Before Linux 6.14 there is one range for the whole machine, which is not ours to shrink.
  const [major = 0, minor = 0] = release().split('.').map(Number)
  if (major < 6 || (major === 6 && minor < 14)) return t.skip('missing: Linux 6.14, with a range of pids per namespace')
  make('out/plain/lock_storm')
  for (const engine of ['pthread', 'posixsem']) {
    const storm = `echo 400 > /proc/sys/kernel/pid_max && exec out/plain/lock_storm 800 --engine ${engine}`
    const { status, output } = run('unshare', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', storm)
    if (/unshare failed|Operation not permitted/.test(output))
      return t.skip('missing: the right to make a pid namespace')
    assert.equal(status, 0, output)
  }
})
