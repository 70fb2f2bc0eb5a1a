// The engine's own tests, which know nothing of Node: GoogleTest over its parts.

import { strict as assert } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { make, run } from './programs.ts'

test('the engine passes its own tests without Node', (t) => {
  if (!hasGoogleTest()) return t.skip('missing: GoogleTest (Debian: libgtest-dev)')
  make('out/plain/engine_test')
  const { status, output } = run('out/plain/engine_test', '--gtest_brief=1')
  assert.equal(status, 0, output)
  t.diagnostic(output.trim().split('\n').at(-1) ?? '')
})

function hasGoogleTest() {
  const include = '#include <gtest/gtest.h>\n'
  return spawnSync('g++', ['-x', 'c++', '-E', '-o', '/dev/null', '-'], { input: include }).status === 0
}
