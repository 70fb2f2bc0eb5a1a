// Runs the proofs of the metrics in their long form and writes docs/metrics-proof.md from
// what they said: `node scripts/metrics-proof.mjs`, after `npm test -- metrics` has built
// all. A broken promise is written down as well, and ends this with 1.

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'

const load = loadavg()[0].toFixed(1)
const counting = prove('test/process/metrics-workers.test.ts', { UWSHM_TEST_COUNTS: '1000000' })
const beside = prove('test/interop/metrics.test.ts')
const deaths = spawnSync('test/native/out/plain/metrics', { encoding: 'utf8' })
const proofs = [...counting, ...beside]
const holds = deaths.status === 0 && proofs.length > 4 && proofs.every(({ passed }) => passed)

writeFileSync('docs/metrics-proof.md', page())
console.log(`docs/metrics-proof.md: ${holds ? 'every promise held' : 'a promise was broken'}`)
process.exit(holds ? 0 : 1)

/** The tests of a file: what each promises, whether it holds, and what it said. */
function prove(file, env = {}) {
  const { stdout } = spawnSync(process.execPath, ['--import', 'tsx', '--test', '--test-reporter=tap', file], {
    encoding: 'utf8',
    env: { ...process.env, UWSHM_FULL: '1', ...env },
  })
  const tests = []
  for (const line of stdout.split('\n')) {
    const [, outcome, title] = /^(ok|not ok) \d+ - (.*?)(?: # SKIP.*)?$/.exec(line) ?? []
    if (title) tests.push({ title, passed: outcome === 'ok' && !line.includes('# SKIP'), said: [] })
    else if (line.startsWith('# ') && !/^# (Subtest|tests|suites|pass|fail|cancelled|skipped|todo|duration)/.test(line))
      tests.at(-1)?.said.push(line.slice(2))
  }
  return tests
}

function page() {
  const rows = beside.flatMap(({ said }) => said).filter((line) => line.startsWith('| '))
  const calls = deaths.stdout.matchAll(/^(\w+) +(\d+) boundaries$/gm)
  return `# Proof of the metrics

Written by \`scripts/metrics-proof.mjs\`; run it again to check it. Linux ${release()}, ${cpus().length} cores, Node ${process.versions.node}; the
load of the machine was ${load} before it began.

## Counting

| promise | held | said |
|---|---|---|
${counting.map(({ title, passed, said }) => `| ${title} | ${passed ? 'yes' : '**no**'} | ${said.join('; ')} |`).join('\n')}

## A death at every instruction

A child goes through one call instruction by instruction; at every one the segments get the form that they would have if
it died there (\`test/crash/metrics.cpp\`). All is whole then, each metric has its value from before the call or from after
it, and others can do the same at once, and after the dead were reclaimed.${deaths.status === 0 ? '' : ' **It failed.**'}

| call | boundaries |
|---|---:|
${[...calls].map(([, call, boundaries]) => `| ${call} | ${boundaries} |`).join('\n')}

## Beside the real uWSGI

Two workers with two cores each, here and there, get the same requests (\`test/interop/metrics.test.ts\`): names, order,
types and OIDs are the same, each value is what the client has seen, and what differs is told by
[differences](differences.md).${beside.every(({ passed }) => passed) ? '' : ' **It failed.**'}

| metric | uWSGI | uwshm |
|---|---:|---:|
${rows.join('\n')}
`
}
