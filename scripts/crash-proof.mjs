// Runs the crash tests in their long form and writes docs/crash-proof.md from what they
// said: `node scripts/crash-proof.mjs [--short]`. About half an hour on two cores. A
// broken promise is written down as well, and ends this with 1.

import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'

const short = process.argv.includes('--short')
const out = 'test/native/out'
const kills = (full) => (short ? Math.max(full / 50, 100) : full)
const seed = 20_260

const storms = [
  { title: 'one at a time, everybody busy', args: [kills(10_000)] },
  { title: 'one at a time, workers rest', args: [kills(10_000), '--rests'] },
  { title: 'values over several blocks', args: [kills(4000), '--bitmap'] },
  { title: 'the same with checksums', args: [kills(2000), '--bitmap', '--checksum'] },
  { title: 'lru-strict, caches in files', args: [kills(4000), '--store', '--policy', 'lru-strict'] },
  { title: 'sieve, caches in files', args: [kills(2000), '--store', '--policy', 'sieve'] },
  { title: 'sieve, checksums', args: [kills(4000), '--checksum', '--policy', 'sieve'] },
  { title: 'two at once', args: [kills(20_000), '--mode', 'two'] },
  { title: 'only waiters', args: [kills(20_000), '--mode', 'waiters'] },
  { title: 'then three who repair', args: [kills(20_000), '--mode', 'rescuer'] },
]

// The cache is the same under every lock engine; what its locks do when their owners die is not.
const engines = ['ipcsem', 'posixsem', 'futex']
const engineStorms = engines.flatMap((engine) => [
  { title: `${engine}: one at a time, everybody busy`, args: [kills(2000), '--engine', engine] },
  { title: `${engine}: then three who repair`, args: [kills(1000), '--mode', 'rescuer', '--engine', engine] },
])

const build = (variant) =>
  execFileSync('make', ['-s', '-j2', '-C', 'test/native', `VARIANT=${variant}`, 'build'], { stdio: 'inherit' })
build('plain')
build('no-repair')

const load = loadavg()[0].toFixed(1)
const weather = ({ title, args }) => ({ title, ...run('plain', 'storm', ...args, '--seed', seed) })
const held = storms.map(weather)
const boundaries = run('plain', 'boundaries', short ? 20 : 1)
const stores = run('plain', 'store_deaths', short ? 20 : 1)
const mutations = run('plain', 'store_mutations', short ? 4000 : 1_000_000)
const scribbles = run('plain', 'scribbles', short ? 300 : 10_000)
const heldByOthers = engineStorms.map(weather)
const boundariesOfOthers = engines.map((engine) => run('plain', 'boundaries', short ? 101 : 20, engine))
const broken = Array.from({ length: 10 }, (_, i) => run('no-repair', 'storm', 1000, '--seed', i + 1))
const brokenBoundaries = run('no-repair', 'boundaries', 20)

writeFileSync('docs/crash-proof.md', page())
const proven = broken.filter(failed).length >= 8 && failed(brokenBoundaries) // chance may spare a seed
const bad =
  [...held, boundaries, stores, mutations, scribbles, ...heldByOthers, ...boundariesOfOthers].some(
    ({ code }) => code !== 0,
  ) || !proven
console.log(bad ? 'docs/crash-proof.md: a promise was broken' : 'docs/crash-proof.md: every promise held')
process.exit(bad ? 1 : 0)

/** The program's code, its lines, and the figures of its last line. */
function run(variant, program, ...args) {
  console.log(`${variant}: ${program} ${args.join(' ')}`)
  const { status, stdout } = spawnSync(`${out}/${variant}/${program}`, args.map(String), {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  const lines = stdout.trim().split('\n')
  // Without repair the boundaries end with their first failure.
  const figures = lines.at(-1).startsWith('{') ? JSON.parse(lines.at(-1)) : {}
  return { code: status, lines, ...figures }
}

function page() {
  return `# Proof by killing

Written by \`scripts/crash-proof.mjs\`${short ? ', in its short form' : ''}; run it again to check it. Linux ${release()}, ${cpus().length} cores,
${glibc()}; the load of the machine was ${load} before it began${load > 1.5 ? ', so others were at work too' : ''}. Seed ${seed}.

## A storm of kills

Eight processes do everything that a cache can be asked for, on three small caches, one of which evicts, and are killed with
SIGKILL at random moments (\`test/crash/storm.cpp\`), ${(sum([...held, ...heldByOthers].map((storm) => storm.kills)) + sum(held.map((storm) => storm.rescuersKilled))).toLocaleString('en')} times in all. Every value carries its key, writer, number and size, and every one of its
words follows from those; a ledger beside the caches tells what must be there and what may. After each death the
killer, a client like others, asks every stripe for a write and a read and stores a new key; about every 200 kills
everybody halts and every invariant is walked; of caches in files, what a start would find is looked at too. The killer goes before the
others where it may, and so does whoever dies. A victim is somebody who is not asleep: inside counts those who died
with a lock, an armed intent or a reserved slot.

| victims | kills | inside | calls | stuck > 1 s | wrong values | lost slots | checks | gap p50 / p99 / max | without a kill |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
${held.map(stormRow).join('\n')}

The gap is the time from a kill until the killer has been served by every stripe, in ms; in half of the kills it is
served before the dead are reclaimed, in the others afterwards, from their end on. Beside it the same question when nobody has died. Eight
processes that never rest on ${cpus().length} cores wait for a processor, dead owner or not: where they rest, the gap is what
a death costs.${held.some((storm) => storm.rescuersKilled) ? ` In the last row of the first table ${sum(held.map((storm) => storm.rescuersKilled)).toLocaleString('en')} processes more were killed while they repaired.` : ''}

## A death at every instruction

A child goes through one call instruction by instruction; at ${boundaries.stride === 1 ? 'every one' : `every ${boundaries.stride}th`} the segments get the form that the kernel gives
them when it dies there, and others have to live with that (\`test/crash/boundaries.cpp\`): the cache is whole, holds
what it held before the call or after it, takes the same call again and as many items as it was made for; once after
the dead are reclaimed, once when a survivor stores the same key first. Torn means that something was half done.
At a part of those whoever repairs is stepped too, and dies. Some children are killed in earnest: the segments
were then, byte for byte, what was assumed.

| call | start states | boundaries | torn | repairers dead too | killed in earnest | failures |
|---|---:|---:|---:|---:|---:|---:|
${callRows(boundaries.lines).join('\n')}

The same with everybody dead, and what a start finds then in the file of a store (\`test/crash/store_deaths.cpp\`):
${stores.boundaries.toLocaleString('en')} boundaries of ${stores.pairs} pairs of a call and a start state, ${stores.failures} failures.

## A store that something has happened to

${mutations.stores.toLocaleString('en')} times a store's file was damaged (\`test/crash/store_mutations.cpp\`: bits, bytes, blocks moved and copied, cut short, the header, a power
cut) and a start made with it: ${mutations.faults} wrong values, none that did not end or left a cache that is not whole.

## Bytes where they do not belong

\`test/crash/scribbles.cpp\`: a cache gets up to 4,096 random bytes anywhere, or circles, links and lengths of the worst kind, while one
process makes every call there is and another reads and stores. In ${scribbles.rounds.toLocaleString('en')} rounds over all kinds of caches, half of them with checksums,
${scribbles.calls.toLocaleString('en')} calls ended nobody's process; the slowest took ${scribbles.slowestMs} ms of the processor. With checksums no wrong value was served. After \`clear\`
each held as many items as it was made for, ${scribbles.clearedTwice} of them after a second one that \`CACHE_CORRUPT\` had asked for.

## Under the other lock engines

The tables above are those of \`--lock-engine pthread\`; these are of the others, in the same columns.

| victims | kills | inside | calls | stuck > 1 s | wrong values | lost slots | checks | gap p50 / p99 / max | without a kill |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
${heldByOthers.map(stormRow).join('\n')}

And the same deaths, at every ${boundariesOfOthers[1].stride}th instruction; under ipcsem, whose locks the kernel keeps, there is no
image of them, so all of its deaths are in earnest.

| engine | boundaries | torn | repairers dead too | killed in earnest | failures |
|---|---:|---:|---:|---:|---:|
${boundariesOfOthers.map(({ engine, boundaries, torn, twiceDead, killed, failures }) => `| ${engine} | ${[boundaries, torn, twiceDead, killed, failures].map((figure) => figure.toLocaleString('en')).join(' | ')} |`).join('\n')}

## With repair compiled out

The same tests, built with \`-DUWSHM_NO_REPAIR\`, must fail: else they would prove nothing. A random kill seldom hits the
few instructions that need repair, about once in 250; so chance may spare a seed for a thousand kills.

| test | failed | how |
|---|---|---|
${broken.map((storm, i) => `| storm, seed ${i + 1} | ${storm.held ? '**did not**' : `at kill ${storm.brokenAt ?? storm.kills}`} | ${said(storm)} |`).join('\n')}
| boundaries, every 20th | ${failed(brokenBoundaries) ? 'yes' : '**did not**'} | ${said(brokenBoundaries)} |
`
}

function failed({ code }) {
  return code === 1 || code === 3
}

function stormRow(storm) {
  const ms = (times) => `${times.p50} / ${times.p99} / ${times.max}`
  const figures = [
    storm.kills,
    `${storm.insidePercent} %`,
    storm.calls,
    storm.stuck,
    storm.wrong,
    storm.lost,
    storm.checks,
  ]
  return `| ${storm.title} | ${figures.map((figure) => figure.toLocaleString('en')).join(' | ')} | ${ms(storm.gapMs)} | ${ms(storm.calmMs)} |`
}

function callRows(lines) {
  const calls = new Map()
  for (const line of lines) {
    const found = /^(\w+) +(.+?) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$/.exec(line)
    if (found === null) continue
    const before = calls.get(found[1]) ?? [0, 0, 0, 0, 0, 0]
    const figures = [1, ...found.slice(3).map(Number)]
    calls.set(
      found[1],
      before.map((figure, i) => figure + figures[i]),
    )
  }
  calls.set(
    '**all**',
    [...calls.values()].reduce((all, figures) => all.map((figure, i) => figure + figures[i])),
  )
  return [...calls].map(
    ([call, figures]) => `| ${call} | ${figures.map((figure) => figure.toLocaleString('en')).join(' | ')} |`,
  )
}

function said({ lines }) {
  const line = lines.find((line) => /^(FAILED|BROKEN|STUCK)/.test(line)) ?? ''
  return line
    .replace(/^BROKEN at kill \d+: /, '')
    .replace(/ at 0x[0-9a-f]+/, '')
    .replaceAll('|', ' ')
}

function sum(figures) {
  return figures.reduce((all, figure) => all + figure, 0)
}

function glibc() {
  return (
    readFileSync('/etc/os-release', 'utf8').match(/PRETTY_NAME="(.*)"/)?.[1] +
    ', glibc ' +
    process.report.getReport().header.glibcVersionRuntime
  )
}
