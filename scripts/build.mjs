// `npm run build`: compiles what is stale and nothing else, so that `npm start`
// and `npm test` can afford to call it every time.
//
// The addon is also put, stripped, where a published package carries it
// (prebuilds/, the place and name node-gyp-build looks for): installing from
// the registry or from git then needs no install script.

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

process.chdir(dirname(import.meta.dirname))

const addon = 'build/Release/uwshm.node'
const prebuilt = `prebuilds/linux-${process.arch}/uwshm.glibc.node`

if (stale('dist/cli.js', ['src', 'tsconfig.json', 'package.json'])) {
  say('compiling TypeScript')
  // A module that was renamed must not live on in dist.
  rmSync('dist', { recursive: true, force: true })
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'])
  if (existsSync('dist/cli.js')) chmodSync('dist/cli.js', 0o755)
}

if (stale(addon, ['native', 'binding.gyp'])) {
  say('compiling the native engine')
  // A new or vanished source file changes the list in the generated Makefile.
  nodeGyp('configure', ...headers())
  nodeGyp('build', '--jobs=max')
  // make leaves the addon alone when only a header that nobody includes has changed.
  utimesSync(addon, new Date(), new Date())
}

if (stale(prebuilt, [addon])) {
  mkdirSync(dirname(prebuilt), { recursive: true })
  copyFileSync(addon, prebuilt)
  run('strip', ['--strip-unneeded', prebuilt])
}

/** Is `output` missing or older than any of `inputs`? A folder's own time tells of deleted files. */
function stale(output, inputs) {
  if (!existsSync(output)) return true
  const built = statSync(output).mtimeMs
  return inputs.some((input) => newest(input) > built)
}

function newest(path) {
  const entry = statSync(path)
  if (!entry.isDirectory()) return entry.mtimeMs
  return Math.max(entry.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))))
}

/** npm brings its own node-gyp and says where; it is no dependency of ours. */
function nodeGyp(...args) {
  const program = process.env.npm_config_node_gyp
  if (!program) fail('node-gyp comes with npm: call this as `npm run build`')
  run(process.execPath, [program, '--loglevel=warn', ...args])
}

/** The headers that came with this very Node, when they did; otherwise node-gyp fetches them. */
function headers() {
  if (process.env.npm_config_nodedir) return []
  const prefix = dirname(dirname(process.execPath))
  const version = join(prefix, 'include/node/node_version.h')
  if (!existsSync(version)) return []
  const [major] = process.versions.node.split('.')
  return readFileSync(version, 'utf8').includes(`#define NODE_MAJOR_VERSION ${major}\n`) ? [`--nodedir=${prefix}`] : []
}

function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' })
  if (error) fail(`cannot run ${program}: ${error.message}`)
  if (status !== 0) process.exit(status ?? 1)
}

function say(text) {
  console.log(`uwshm: ${text}`)
}

function fail(sentence) {
  console.error(`uwshm: ${sentence}`)
  process.exit(1)
}
