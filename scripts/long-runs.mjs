// Runs the long forms of tests that have a short one in CI, and writes docs/long-runs.md:
// `node --import tsx scripts/long-runs.mjs [SUBJECT ...]`, about ten minutes on two quiet cores.
//
// A subject keeps the files whose path contains it; what the page says of the others stays.
// A failure is written down as well, and ends this with 1.

import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { run } from 'node:test'
import { setup } from './setup.mjs'

const files = ['stats-hostile', 'stats', 'metrics-workers', 'cache-count', 'compute', 'store', 'threads'].map(
  (name) => `test/process/${name}.test.ts`,
)
const subjects = process.argv.slice(2)
const asked = files.filter((path) => subjects.length === 0 || subjects.some((subject) => path.includes(subject)))
const page = 'docs/long-runs.md'
const load = loadavg()[0].toFixed(1)

setup()
process.env.UWSHM_FULL = '1'
process.env.UWSHM_TEST_COUNTS ??= '1000000'
process.env.UWSHM_TEST_KILLS ??= '100'

const sections = new Map(sectionsOf(page))
let isBroken = false
for (const file of asked) sections.set(file, await sectionFor(file))
writeFileSync(page, text())
console.log(isBroken ? `${page}: something was broken` : `${page}: all held`)
process.exit(isBroken ? 1 : 0)

async function sectionFor(file) {
  const rows = []
  const events = run({ files: [file], concurrency: 1, timeout: 1_200_000 })
  for await (const { type, data } of events) {
    // What a test says comes after it.
    if (type === 'test:diagnostic' && data.line) rows.at(-1)?.said.push(data.message)
    if (
      (type !== 'test:pass' && type !== 'test:fail') ||
      data.details.type === 'suite' ||
      data.name.endsWith('.test.ts')
    )
      continue
    if (type === 'test:fail') isBroken = true
    const seconds = (data.details.duration_ms / 1000).toFixed(1)
    rows.push({ name: data.name, held: type === 'test:pass' ? 'held' : '**failed**', seconds, said: [] })
    console.log(`${rows.at(-1).held} ${data.name} (${seconds} s)`)
  }
  const cells = rows.map(({ name, held, seconds, said }) => {
    const words = said.join('<br>').replaceAll('|', '\\|')
    return `| ${name} | ${held} | ${seconds} s | ${words} |`
  })
  return `| promise | | took | |\n|---|---|---:|---|\n${cells.join('\n')}\n\nLoad of the machine when it began: ${load}.`
}

/** What the page says already. */
function* sectionsOf(path) {
  let before = ''
  try {
    before = readFileSync(path, 'utf8')
  } catch {
    return
  }
  for (const [, file, section] of before.matchAll(/^## (\S+)\n\n([\s\S]*?)\n(?=\n## |$(?![\s\S]))/gm))
    yield [file, section.trim()]
}

function text() {
  const bodies = files.filter((file) => sections.has(file)).map((file) => `## ${file}\n\n${sections.get(file)}\n`)
  return `<!-- Written by \`node --import tsx scripts/long-runs.mjs\`; do not edit. -->

# Long runs

Promises that CI tests in a short form, in their long one. Machine: ${cpus().length} × ${cpus()[0].model.trim()}, Linux ${release()}, Node ${process.versions.node}.

${bodies.join('\n')}`
}
