// The engine's own tests, which know nothing of Node: GoogleTest over its parts. In
// CI under AddressSanitizer and UBSan, which see what plain runs do not.

import { strict as assert } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { make, run } from './programs.ts'

const variant = process.env.CI === 'true' ? 'asan' : 'plain'

test(`the engine passes its own tests without Node (${variant})`, (t) => {
  if (!hasGoogleTest()) return t.skip('missing: GoogleTest (Debian: libgtest-dev)')
  make(`out/${variant}/engine_test`, `VARIANT=${variant}`)
  const { status, output } = run(`out/${variant}/engine_test`, '--gtest_brief=1')
  assert.equal(status, 0, output)
  t.diagnostic(output.trim().split('\n').at(-1) ?? '')
})

function hasGoogleTest() {
  const include = '#include <gtest/gtest.h>\n'
  return spawnSync('g++', ['-x', 'c++', '-E', '-o', '/dev/null', '-'], { input: include }).status === 0
}
