// Kills whoever has to do with a lock, 100,000 times per engine, and writes
// docs/lock-proof.md: `node scripts/lock-proof.mjs [--short] [ENGINE ...]`.
//
// One engine takes a few minutes on two quiet cores, and never more than eight: what is
// done is kept in test/native/out, and the next run goes on from there (--anew begins
// again). The page is written from what there is. A broken promise is written down as
// well, and ends this with 1.

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'

const short = process.argv.includes('--short')
const engines = ['pthread', 'ipcsem', 'posixsem', 'futex']
const asked = process.argv.slice(2).filter((word) => engines.includes(word))
const kept = `test/native/out/lock-proof${short ? '-short' : ''}.json`
const wanted = short ? 2_000 : 100_000
const atATime = short ? 1_000 : 10_000
const fewPids = short ? 500 : 10_000
const masters = short ? 20 : 1_000
const mastersAtATime = 250
const freezeSeconds = short ? 2 : 60
const timeLimitMs = 8 * 60_000

execFileSync('make', ['-s', '-j2', '-C', 'test/native', 'out/plain/lock_storm'], { stdio: 'inherit' })
if (process.argv.includes('--anew')) rmSync(kept, { force: true })
/** By engine: its storms, the one with few pids, and masters that were killed. */
const proof = existsSync(kept) ? JSON.parse(readFileSync(kept, 'utf8')) : {}

for (const engine of asked.length > 0 ? asked : engines) prove(engine)
writeFileSync('docs/lock-proof.md', page())

const done = engines.filter((engine) => proof[engine])
const runs = done.flatMap((engine) => [...proof[engine].storms, ...[proof[engine].few ?? []].flat()])
const isBroken = runs.some(({ held }) => !held) || done.some((engine) => proof[engine].masters?.held === false)
console.log(isBroken ? 'docs/lock-proof.md: a promise was broken' : 'docs/lock-proof.md: every promise held so far')
process.exit(isBroken ? 1 : 0)

function prove(engine) {
  const end = Date.now() + timeLimitMs
  const mine = (proof[engine] ??= { storms: [] })
  const isOver = () => {
    if (Date.now() < end) return false
    console.log(`${engine}: time is up; the next run goes on`)
    return true
  }
  const note = () => writeFileSync(kept, JSON.stringify(proof))
  for (let kills = total(mine.storms, 'kills'); kills < wanted; kills = total(mine.storms, 'kills')) {
    if (isOver()) return
    const seed = mine.storms.length + 1
    // The first run is also the one that stops a holder for long.
    const freeze = seed === 1 ? freezeSeconds : 0.3
    mine.storms.push(storm(engine, Math.min(atATime, wanted - kills), '--seed', seed, '--freeze', freeze))
    note()
  }
  if (!mine.few && !isOver()) {
    mine.few = withFewPids(engine)
    note()
  }
  if (engine === 'ipcsem') mine.masters ??= { held: true, kills: 0 }
  while (mine.masters?.held && mine.masters.kills < masters) {
    if (isOver()) return
    killMasters(mine.masters)
    note()
  }
}

function storm(engine, ...args) {
  return run('test/native/out/plain/lock_storm', ['--engine', engine, ...args.map(String)])
}

/** In a namespace of its own with 400 pids; null where the kernel has none (before 6.14 the range is the machine's). */
function withFewPids(engine) {
  const [major, minor] = release().split('.').map(Number)
  if (major < 6 || (major === 6 && minor < 14)) return null
  const command = `echo 400 > /proc/sys/kernel/pid_max && exec test/native/out/plain/lock_storm ${fewPids} --engine ${engine}`
  return run('unshare', ['--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', command])
}

/** The figures of the program's last line, and the load of the machine before it. */
function run(program, args) {
  console.log(`${program} ${args.join(' ')}`)
  const load = loadavg()[0]
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26 })
  const lines = stdout.trim().split('\n')
  if (!lines.at(-1).startsWith('{')) throw new Error(`${program} says nothing: ${stderr}`)
  const why = lines.find((line) => /^(BROKEN|STUCK)/.test(line))
  return { load, ...(why && { why }), ...JSON.parse(lines.at(-1)) }
}

function killMasters(sofar) {
  const count = Math.min(mastersAtATime, masters - sofar.kills)
  console.log(`ipcsem: ${count} masters`)
  const env = { ...process.env, UWSHM_TEST_KILLS: String(count) }
  const args = ['test', '--', 'process/lock-engines']
  const { status, stdout } = spawnSync('npm', args, { encoding: 'utf8', env, maxBuffer: 1 << 26 })
  sofar.held = status === 0 && stdout.includes(`✔ ipcsem: ${count} masters killed`)
  sofar.kills += count
  if (!sofar.held) console.log(stdout)
}

function page() {
  const known = engines.filter((engine) => proof[engine]?.storms.length > 0)
  const load = Math.max(...known.flatMap((engine) => proof[engine].storms.map((storm) => storm.load)))
  return `# Proof by killing: the locks

Written by \`scripts/lock-proof.mjs\`${short ? ', in its short form' : ''}; run it again to check it. Linux ${release()}, ${cpus().length} cores; the
highest load of the machine before a run was ${load.toFixed(1)}.

Eight processes take turns at one lock and rest in between (\`test/crash/lock_storm.cpp\`). A turn changes two numbers that
must be equal; half of the kills are for whoever holds the lock, the others for anybody, for a waiter, for the holder
and another at once, and for the holder and then, three times over, for who repairs after it. With the lock in its
hands counts deaths after which the next owner had something to repair; the hand-over is the time from such a kill until
somebody else had the lock, repaired, in ms. Beside it the time until the next turn when nobody has died. At the end
somebody is stopped with the lock in its hands: nobody takes it, everybody else gives up in time.

| engine | kills | with the lock in its hands | repairers killed | stuck > 1 s | torn, or two inside | hand-over p50 / p99 / max | without a kill, p99 | stopped for |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
${known.map((engine) => stormRow(engine, proof[engine].storms)).join('\n')}

With 400 process ids, each used again after some two hundred kills (a pid namespace of its own; Linux 6.14 and later):

| engine | kills | stuck > 1 s | hand-over p50 / p99 / max |
|---|---:|---:|---:|
${known.map((engine) => fewRow(engine, proof[engine].few)).join('\n')}

${mastersLine()}
`
}

function stormRow(engine, storms) {
  const inside = total(storms, 'inside')
  const calm = Math.max(...storms.map((storm) => storm.calmMs?.p99 ?? 0))
  const cells = [
    total(storms, 'kills').toLocaleString('en'),
    inside.toLocaleString('en'),
    total(storms, 'repairersKilled').toLocaleString('en'),
    total(storms, 'stuck'),
    storms.every(({ held }) => held) ? 0 : `**${storms.find(({ held }) => !held).why ?? 'broken'}**`,
    gaps(storms),
    calm,
    `${Math.max(...storms.map((storm) => storm.freezeSeconds ?? 0))} s`,
  ]
  return `| ${engine} | ${cells.join(' | ')} |`
}

function fewRow(engine, few) {
  if (!few) return `| ${engine} | not run | | |`
  const said = few.held ? few.stuck : `**${few.why}**`
  return `| ${engine} | ${few.kills.toLocaleString('en')} | ${said} | ${gaps([few])} |`
}

function mastersLine() {
  const killed = proof.ipcsem?.masters
  if (!killed?.kills) return 'Masters killed under `ipcsem`: not run.'
  const count = killed.kills.toLocaleString('en')
  return killed.held
    ? `Under \`ipcsem\` ${count} masters were killed with SIGKILL at any moment of their start and their work: each start removed the semaphores that the last one had left, and after the last one's end \`ipcs -s\` showed none.`
    : `**Under \`ipcsem\` ${count} masters were killed, and semaphores stayed, or a start failed.**`
}

/** From the histograms, whose bars are 10 % wide: the upper edge of the bar in which the part lies. */
function gaps(storms) {
  const bars = storms.flatMap((storm) => storm.gapHistogram ?? []).sort(([a], [b]) => a - b)
  const count = bars.reduce((sum, [, gaps]) => sum + gaps, 0)
  const at = (part) => {
    let left = part * count
    for (const [edge, gaps] of bars) {
      left -= gaps
      if (left <= 0) return edge.toFixed(2)
    }
    return '-'
  }
  const max = Math.max(...storms.map((storm) => storm.gapMs?.max ?? 0))
  return `${at(0.5)} / ${at(0.99)} / ${max}`
}

function total(runs, figure) {
  return runs.reduce((sum, run) => sum + (run[figure] ?? 0), 0)
}
