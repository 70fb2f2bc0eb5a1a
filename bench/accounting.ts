// What does accounting cost an application that does nothing else?
//
// One worker with it and one without serve the same hello world. wrk loads them
// in turn, round after round, so that a noisy minute falls on both alike; which
// of them comes first changes from round to round. Every few rounds both are
// started anew: a worker may become a third slower in a minute and stay so, with
// accounting or without (V8 optimizes by chance). Writes docs/benchmarks-accounting.md.
//
// UWSHM_BENCH_ROUNDS and UWSHM_BENCH_MS shorten it while working on it.

import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Master } from '../test/harness.ts'
import { median } from './rounds.ts'

const rounds = Number(process.env.UWSHM_BENCH_ROUNDS ?? 60)
const roundsOfAPair = 5
const seconds = Math.max(1, Math.round(Number(process.env.UWSHM_BENCH_MS ?? 1000) / 1000))
const connections = 32
const mostCost = 0.05

/** What a browser sends with every request. */
const browser = {
  'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8',
  'Accept-Encoding': 'gzip, deflate, br, zstd',
  'Accept-Language': 'en-GB,en;q=0.9,de;q=0.8',
  'Cache-Control': 'max-age=0',
  Cookie: 'session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=1',
  DNT: '1',
  Referer: 'http://localhost/a/page/of/ours?with=a&query=string',
  'Sec-CH-UA': '"Chromium";v="142", "Not_A Brand";v="99"',
  'Sec-CH-UA-Mobile': '?0',
  'Sec-CH-UA-Platform': '"Linux"',
  'Sec-Fetch-Dest': 'document',
  'Sec-Fetch-Mode': 'navigate',
  'Sec-Fetch-Site': 'same-origin',
  'Upgrade-Insecure-Requests': '1',
}
const plan = [
  { says: 'wrk, which sends one header', headers: {} },
  { says: `a browser's ${Object.keys(browser).length + 1} headers`, headers: browser },
]

interface Figures {
  perSecond: number
  /** CPU microseconds of the worker for each request. */
  cpu: number
}
interface Measured {
  says: string
  without: Figures[]
  with: Figures[]
}

if (spawnSync('wrk', ['-v']).error) {
  console.error('the benchmark loads with wrk; on Debian: apt-get install wrk')
  process.exit(1)
}
const [load] = loadavg() as [number, number, number]
const app = fileURLToPath(new URL('hello.mjs', import.meta.url))
const stub = new URL('unaccounted.mjs', import.meta.url).href
const start = (...args: string[]) => new Master(['--http-socket', '127.0.0.1:0', ...args, app]).serving(1)

const measured: Measured[] = []
for (const { says, headers } of plan) {
  const row: Measured = { says, without: [], with: [] }
  while (row.with.length < rounds) await measurePair(row, headers)
  measured.push(row)
  console.log(
    `${says}: ${ratios(row, 'perSecond').map((one) => one.toFixed(3))}, cpu ${costs(row).map((one) => one.toFixed(2))}`,
  )
}
writeFileSync('docs/benchmarks-accounting.md', page())
console.log('written to docs/benchmarks-accounting.md')

async function measurePair(row: Measured, headers: Record<string, string>): Promise<void> {
  const masters = { without: await start('--node-arg', `--import=${stub}`), with: await start() }
  // The first round warms up and is not counted.
  for (let round = 0; round <= Math.min(roundsOfAPair, rounds); round++) {
    const order = round % 2 === 0 ? (['without', 'with'] as const) : (['with', 'without'] as const)
    for (const side of order) {
      const figures = await loaded(masters[side], headers)
      if (round > 0) row[side].push(figures)
    }
  }
  for (const master of Object.values(masters)) {
    master.kill()
    await master.ended
  }
}

async function loaded(master: Master, headers: Record<string, string>): Promise<Figures> {
  const [pid] = master.pidsOfReady() as [number]
  const told = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const how = ['-t1', `-c${connections}`, `-d${seconds}s`, ...told, `http://127.0.0.1:${master.port()}/`]
  const before = cpuOf(pid)
  const { stdout } = await promisify(execFile)('wrk', how)
  const spent = cpuOf(pid) - before
  const requests = Number(stdout.match(/(\d+) requests in/)![1])
  return { perSecond: Number(stdout.match(/Requests\/sec:\s*([\d.]+)/)![1]), cpu: spent / requests }
}

/** CPU microseconds of all threads of a process. */
function cpuOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  const spent = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0])
  return spent.reduce((sum, nanoseconds) => sum + Number(nanoseconds) / 1000, 0)
}

function ratios(row: Measured, column: keyof Figures): number[] {
  return row.with.map((figures, round) => figures[column] / row.without[round]![column])
}

function costs(row: Measured): number[] {
  return row.with.map(({ cpu }, round) => cpu - row.without[round]!.cpu)
}

function page(): string {
  return `<!-- Written by \`npm run bench\`; do not edit. -->

# What accounting costs

A hello world on one worker, loaded by wrk with ${connections} connections: with accounting and with the accounting taken out
of the same worker, both started anew every ${roundsOfAPair} rounds. Each figure is the median of ${rounds} rounds of ${seconds} s, and below it the
middle half of them; a ratio or a difference is the median of the rounds' own.

Machine: ${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.versions.node}.${load > 1 ? ` It was busy with other work (load ${load.toFixed(1)}).` : ''}

| request | without, per second | with | with ÷ without | at least ${1 - mostCost} | CPU µs per request, without | with | difference |
|---|---:|---:|---:|---|---:|---:|---:|
${measured.map(tableRow).join('\n')}

CPU time is user and system time of all threads of the worker, garbage collection included; of the socket calls, too.

To do it again: \`apt-get install wrk\`, then \`npm run bench\`. This page is written anew.
`
}

function tableRow(row: Measured): string {
  const column = (side: 'with' | 'without', name: keyof Figures) => row[side].map((figures) => figures[name])
  const ratio = ratios(row, 'perSecond')
  const cells = [
    row.says,
    spread(column('without', 'perSecond'), 0),
    spread(column('with', 'perSecond'), 0),
    spread(ratio, 3),
    median(ratio) >= 1 - mostCost ? 'kept' : '**not kept**',
    spread(column('without', 'cpu'), 1),
    spread(column('with', 'cpu'), 1),
    spread(costs(row), 2),
  ]
  return `| ${cells.join(' | ')} |`
}

function spread(all: number[], digits: number): string {
  const sorted = all.toSorted((a, b) => a - b)
  const [low, high] = [0.25, 0.75].map((part) => sorted[Math.floor(part * (sorted.length - 1))]!)
  return `**${median(all).toFixed(digits)}**<br>${low!.toFixed(digits)} to ${high!.toFixed(digits)}`
}
