// Makes a fresh clone ready: installs when the lock file asks for it, builds what
// is stale. The first thing `npm start` and `npm test` do; imports nothing that
// has to be installed.

import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

export function setup() {
  process.chdir(dirname(import.meta.dirname))
  refuseWithoutToolchain()
  if (!installed()) npm('ci', '--no-audit', '--no-fund', '--ignore-scripts')
  npm('run', '--silent', 'build')
}

/** npm notes what it installed in a lock file of its own. */
function installed() {
  const note = 'node_modules/.package-lock.json'
  return existsSync(note) && statSync(note).mtimeMs >= statSync('package-lock.json').mtimeMs
}

function refuseWithoutToolchain() {
  const missing = ['g++', 'make', 'python3'].filter((program) => spawnSync(program, ['--version']).error)
  if (missing.length === 0) return
  console.error(`uwshm: building the addon needs ${missing.join(', ')}; on Debian: apt-get install g++ make python3`)
  process.exit(1)
}

function npm(...args) {
  const { status } = spawnSync('npm', args, { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
