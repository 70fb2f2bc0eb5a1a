// How the tests of the engine build and run its programs.

import { strict as assert } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'

export function make(target: string, ...settings: string[]) {
  const { status, output } = run('make', '--silent', `--jobs=${availableParallelism()}`, ...settings, target)
  assert.equal(status, 0, output)
}

export function run(program: string, ...args: string[]) {
  const { status, signal, stdout, stderr } = spawnSync(program, args, {
    cwd: import.meta.dirname,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  })
  return { status, output: `${stdout}${stderr}${signal ? `ended by ${signal}\n` : ''}` }
}
