// Who may import whom, read from the import lines of src. Arrows never turn back: if
// the cache needs something from the statistics, the statistics should be asking.

import { strict as assert } from 'node:assert'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

const src = join(import.meta.dirname, '../../src')

/** The rooms of the house, and from which other rooms each may import. A name ending in / is a whole folder. */
const house: Record<string, { holds: string[]; from: string[] }> = {
  doors: {
    holds: ['cli', 'index', 'worker'],
    from: ['master', 'worker', 'api', 'stats', 'memory', 'alarms', 'sockets', 'words', 'native'],
  },
  master: {
    holds: ['master', 'crew', 'respawn', 'create'],
    from: ['stats', 'memory', 'alarms', 'sockets', 'words', 'native'],
  },
  worker: {
    holds: ['app', 'fetch', 'farewell', 'inherited', 'pause'],
    from: ['memory', 'sockets', 'words', 'native'],
  },
  api: { holds: ['api', 'group'], from: ['memory', 'alarms', 'words', 'native'] },
  stats: { holds: ['stats/'], from: ['memory', 'sockets', 'words', 'native'] },
  memory: { holds: ['cache/', 'instance', 'locks/', 'metrics/'], from: ['alarms', 'operator', 'words', 'native'] },
  alarms: { holds: ['alarms/'], from: ['operator', 'words', 'native'] },
  operator: { holds: ['module-function', 'module-function-thread'], from: ['words'] },
  sockets: { holds: ['listen', 'handover'], from: ['words', 'native'] },
  native: { holds: ['native'], from: ['words'] },
  words: {
    holds: [
      'address',
      'errors',
      'fields',
      'help',
      'keyval',
      'log',
      'nearest',
      'options',
      'seat',
      'typescript',
      'version',
    ],
    from: [],
  },
}

const modules = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => path.slice(0, -'.ts'.length))

test('every module of src has its room in the picture', () => {
  for (const module of modules) assert.ok(roomOf(module), `src/${module}.ts: add it to a room in this file`)
})

test('a module imports from its own room and from those its room may look into', () => {
  for (const module of modules) {
    const room = roomOf(module)
    for (const wanted of ours(module)) {
      const other = roomOf(wanted)
      assert.ok(
        other === room || house[room!]!.from.includes(other!),
        `src/${module}.ts (${room}) imports ${wanted} (${other}): the arrow points the wrong way`,
      )
    }
  }
})

test('no module imports itself by way of others', () => {
  const finished = new Set<string>()
  const visit = (module: string, path: string[]) => {
    assert.ok(!path.includes(module), `a circle: ${[...path, module].join(' → ')}`)
    if (finished.has(module)) return
    for (const wanted of ours(module)) visit(wanted, [...path, module])
    finished.add(module)
  }
  for (const module of modules) visit(module, [])
})

test('the addon is loaded in one place, and nothing else comes from outside Node', () => {
  for (const module of modules) {
    const outside = specifiers(module).filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
    assert.deepEqual(outside, [], `src/${module}.ts`)
    if (module !== 'native') assert.doesNotMatch(text(module), /node-gyp-build|\.node'/, `src/${module}.ts`)
  }
})

test('imports are written with the extension of the source', () => {
  for (const module of modules)
    for (const name of specifiers(module).filter((name) => name.startsWith('.')))
      assert.match(name, /\.ts$/, `src/${module}.ts imports ${name}`)
})

function roomOf(module: string) {
  return Object.keys(house).find((room) =>
    house[room]!.holds.some((name) => (name.endsWith('/') ? module.startsWith(name) : module === name)),
  )
}

/** The modules of ours that one imports. */
function ours(module: string) {
  return specifiers(module)
    .filter((name) => name.startsWith('.'))
    .map((name) => normalize(join(dirname(module), name)).replace(/\.ts$/, ''))
}

function specifiers(module: string) {
  const lines = text(module).matchAll(
    /^(?:import|export)\b[^'"]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm,
  )
  return [...lines].map(([, from, bare, lazy]) => (from ?? bare ?? lazy)!)
}

function text(module: string) {
  return readFileSync(join(src, `${module}.ts`), 'utf8')
}
