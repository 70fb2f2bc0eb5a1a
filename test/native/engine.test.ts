// The engine's own tests, which know nothing of Node: GoogleTest over its parts,
// then the programs in test/crash that kill it wherever they can. One entry each,
// so that a skip or a failure shows in the same list as everything else.

import { strict as assert } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism, release } from 'node:os'
import { test } from 'node:test'

const folder = import.meta.dirname
const minutes = 60_000

test('the engine passes its own tests without Node', { timeout: 5 * minutes }, (t) => {
  if (!hasGoogleTest()) return t.skip('missing: GoogleTest (Debian: libgtest-dev)')
  make('out/plain/engine_test')
  const { status, output } = run('out/plain/engine_test', '--gtest_brief=1')
  assert.equal(status, 0, output)
  t.diagnostic(output.trim().split('\n').at(-1) ?? '')
})

for (const source of crashes()) {
  const name = source.replace('.cpp', '')

  test(`the engine survives test/crash/${source}`, { timeout: 5 * minutes }, (t) => {
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
    ['boundaries', '101', engine],
  ] as const)
    test(`the engine survives ${program} ${args.join(' ')}`, { timeout: 5 * minutes }, (t) => {
      make(`out/plain/${program}`)
      const { status, output } = run(`out/plain/${program}`, ...args)
      assert.equal(status, 0, output)
      t.diagnostic(output.trim().split('\n').at(-2) ?? '')
    })

test('with few process ids, each soon used again, nobody is taken for another', { timeout: 5 * minutes }, (t) => {
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

if (crashes().includes('storm.cpp'))
  test('with repair compiled out the same storm fails', { timeout: 5 * minutes }, () => make('no-repair'))

function crashes() {
  const crash = `${folder}/../crash`
  return existsSync(crash) ? readdirSync(crash).filter((name) => name.endsWith('.cpp')) : []
}

function hasGoogleTest() {
  const include = '#include <gtest/gtest.h>\n'
  return spawnSync('g++', ['-x', 'c++', '-E', '-o', '/dev/null', '-'], { input: include }).status === 0
}

function make(target: string) {
  const { status, output } = run('make', '--silent', `--jobs=${availableParallelism()}`, target)
  assert.equal(status, 0, output)
}

function run(program: string, ...args: string[]) {
  const { status, signal, stdout, stderr } = spawnSync(program, args, {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  })
  return { status, output: `${stdout}${stderr}${signal ? `ended by ${signal}\n` : ''}` }
}
