// `npm test [-- subject ...]`: makes the clone ready, runs every test this machine
// can, and says at the end for each one skipped what is missing. A subject keeps the test
// files whose path contains it. With CI=true a skip is a failure: there, everything
// that tests need is installed.
//
// UWSHM_TEST_NODE names another Node to run the same tests with the same binary; the
// engine's own are left out then, for they know no Node.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setup } from './setup.mjs'

const subjects = process.argv.slice(2)
const node = process.env.UWSHM_TEST_NODE ?? process.execPath

setup()

const files = readdirSync('test', { recursive: true })
  .filter((name) => name.endsWith('.test.ts') && !name.includes('node_modules'))
  .map((name) => join('test', name))
  .filter((path) => node === process.execPath || !path.startsWith('test/native/'))
  .filter((path) => subjects.length === 0 || subjects.some((subject) => path.includes(subject)))
  .sort()

if (files.length === 0) {
  console.error(`uwshm: no test file has ${subjects.join(' or ')} in its path`)
  process.exit(1)
}

const folder = mkdtempSync(join(tmpdir(), 'uwshm-test-'))
const noted = join(folder, 'skipped')

const { status } = spawnSync(
  node,
  [
    ...typescript(),
    '--test',
    '--test-timeout=300000',
    ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
    ...['--test-reporter=./scripts/skipped.mjs', `--test-reporter-destination=${noted}`],
    ...files,
  ],
  { stdio: 'inherit' },
)

const skipped = readFileSync(noted, 'utf8').split('\n').filter(Boolean)
rmSync(folder, { recursive: true })

if (skipped.length > 0) {
  console.log(`\nskipped here:\n${skipped.map((line) => `  ${line}`).join('\n')}`)
  if (process.env.CI === 'true') console.log('CI has every program that a test needs, so a skip fails there')
}
process.exit(status || (process.env.CI === 'true' && skipped.length > 0 ? 1 : 0))

/** Node 22.18 and later read .ts themselves. */
function typescript() {
  const { stdout } = spawnSync(node, ['-p', 'Boolean(process.features.typescript)'], { encoding: 'utf8' })
  return stdout.trim() === 'true' ? [] : ['--import', 'tsx']
}
