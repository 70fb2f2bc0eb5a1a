// `npm run bench`: what does it cost to count, and to read what was counted?
// Beside real uWSGI and prom-client. Writes docs/metrics-benchmarks.md.
//
// Each loop runs in a process of its own, so that its call site is compiled for it
// alone; they take turns, round after round. Forked with a role it is one of them.
//
// UWSHM_BENCH_ROUNDS shortens it while working on it.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { create, uwsgi } from '../dist/index.js'
import { metricsObject } from '../dist/metrics/document.js'

const rounds = Number(process.env.UWSHM_BENCH_ROUNDS ?? 9)
const turns = 2_000_000
const series = 500

/** Seconds of CPU for `count` calls, as nanoseconds for one. */
function cpu(count: number, loop: () => void): number {
  const before = process.cpuUsage()
  loop()
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / count
}

const roles = {
  handle() {
    const hits = uwsgi.metric('hits')
    return cpu(turns, () => {
      for (let i = 0; i < turns; i++) hits.inc()
    })
  },
  byName: () =>
    cpu(turns, () => {
      for (let i = 0; i < turns; i++) uwsgi.metricInc('hits')
    }),
  labels() {
    const requests = uwsgi.defineMetric('requests', { labels: ['method', 'status'] })
    return cpu(turns, () => {
      for (let i = 0; i < turns; i++) requests.labels('GET', '200').inc()
    })
  },
  set() {
    const hits = uwsgi.metric('hits')
    return cpu(turns / 10, () => {
      for (let i = 0; i < turns / 10; i++) hits.set(i)
    })
  },
  prom() {
    const hits = promCounter('hits', [])
    return cpu(turns, () => {
      for (let i = 0; i < turns; i++) hits.inc()
    })
  },
  promLabels() {
    const requests = promCounter('requests', ['method', 'status'])
    return cpu(turns / 10, () => {
      for (let i = 0; i < turns / 10; i++) requests.inc({ method: 'GET', status: '200' })
    })
  },
  promSet() {
    const level = promGauge()
    return cpu(turns / 10, () => {
      for (let i = 0; i < turns / 10; i++) level.set(i)
    })
  },
  read() {
    const before = uwsgi.metrics.length
    for (let i = before; i < series; i++) uwsgi.defineMetric(`series-${i}`)
    let size = 0
    const one = cpu(50, () => {
      for (let i = 0; i < 50; i++) size += JSON.stringify(metricsObject()).length
    })
    return size > 0 ? one : 0
  },
  /** What prom-client's cluster mode does with two workers' answers, without the messages that bring them. */
  async promRead() {
    const { AggregatorRegistry, Counter, Registry } = prometheus()!
    const registry = new Registry()
    for (let i = 0; i < series; i++)
      new Counter({ name: `series_${i}`, help: 'one of many', registers: [registry] }).inc(i)
    const json = JSON.stringify(await registry.getMetricsAsJSON())
    const before = process.cpuUsage()
    for (let i = 0; i < 50; i++)
      await AggregatorRegistry.aggregate([JSON.parse(json) as unknown[], JSON.parse(json) as unknown[]]).metrics()
    const { user, system } = process.cpuUsage(before)
    return ((user + system) * 1000) / 50
  },
}
type Role = keyof typeof roles

if (process.send) {
  process.on('message', (role: Role) => void Promise.resolve(roles[role]()).then((result) => process.send!(result)))
  process.send('ready')
} else await main()

/** As much of prom-client as is used here: it is no dependency of the project, `npm ci --prefix bench` installs it. */
interface Prometheus {
  Registry: new () => { getMetricsAsJSON(): Promise<unknown[]>; metrics(): Promise<string> }
  Counter: new (options: object) => { inc(labelsOrN?: object | number): void }
  Gauge: new (options: object) => { set(value: number): void }
  AggregatorRegistry: { aggregate(answers: unknown[][]): { metrics(): Promise<string> } }
}

function prometheus(): Prometheus | null {
  try {
    return createRequire(import.meta.url)('prom-client') as Prometheus
  } catch {
    return null
  }
}

function promCounter(name: string, labelNames: string[]) {
  const { Counter, Registry } = prometheus()!
  return new Counter({ name, help: name, labelNames, registers: [new Registry()] })
}

function promGauge() {
  const { Gauge, Registry } = prometheus()!
  return new Gauge({ name: 'level', help: 'level', registers: [new Registry()] })
}

async function main() {
  const [load] = loadavg() as [number]
  // Not above: what it imports listens to messages, as our own roles do.
  const { uwsgiVersion } = await import('./rivals.ts')
  const version = uwsgiVersion()
  if (version === null || prometheus() === null) {
    console.error('the benchmark compares with real uWSGI (apt-get install uwsgi-core uwsgi-plugin-python3)')
    console.error('and with prom-client (npm ci --prefix bench)')
    process.exit(1)
  }
  create({ metric: ['hits'], metricsMax: series })
  const names = Object.keys(roles) as Role[]
  const children = new Map<Role, ChildProcess>()
  for (const role of names) {
    const child = fork(import.meta.filename)
    await once(child, 'message')
    children.set(role, child)
  }
  const peer = await startUwsgi()
  const all = new Map<Role | 'uwsgi', number[]>()
  for (let round = 0; round <= rounds; round++)
    for (const role of [...names, 'uwsgi'] as const) {
      const one = role === 'uwsgi' ? await peer.time() : await timed(children.get(role)!, role)
      if (round > 0) all.set(role, [...(all.get(role) ?? []), one]) // the first warms up
    }
  for (const child of children.values()) child.kill()
  await peer.stop()
  writeFileSync('docs/metrics-benchmarks.md', page(all, load, version))
  console.log('written to docs/metrics-benchmarks.md')
  process.exit()
}

async function timed(child: ChildProcess, role: Role): Promise<number> {
  child.send(role)
  const [nanoseconds] = (await once(child, 'message')) as [number]
  return nanoseconds
}

async function startUwsgi() {
  const folder = mkdtempSync(join(tmpdir(), 'uwshm-bench-'))
  const socketPath = join(folder, 'uwsgi.sock')
  const child = spawn(
    'uwsgi',
    [
      ...['--plugin', 'python3', '--wsgi-file', join(import.meta.dirname, 'metrics.py'), '--need-app', '--master'],
      ...['--http-socket', socketPath, '--metric', 'hits', '--die-on-term', '--disable-logging'],
    ],
    { stdio: 'ignore' },
  )
  const ask = async (count: number) => {
    const asked = request({ socketPath, path: `/?turns=${count}` }).end()
    const [response] = await once(asked, 'response')
    return JSON.parse(await text(response)) as number
  }
  for (let tries = 0; ; tries++) {
    try {
      await ask(1)
      break
    } catch (error) {
      if (tries === 200) throw error
      await setTimeout(50)
    }
  }
  return {
    time: () => ask(turns / 10),
    async stop() {
      child.kill()
      await once(child, 'exit')
      rmSync(folder, { recursive: true })
    },
  }
}

function page(all: Map<Role | 'uwsgi', number[]>, load: number, version: string): string {
  const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!
  const of = (role: Role | 'uwsgi') => all.get(role)!
  const row = (what: string, role: Role | 'uwsgi', unit = 1) => {
    const [middle, least, most] = [median(of(role)), Math.min(...of(role)), Math.max(...of(role))].map((one) =>
      (one / unit).toFixed(unit === 1 ? 1 : 2),
    )
    return `| ${what} | **${middle}** | ${least} to ${most} |`
  }
  const floor = (says: string, above: Role | 'uwsgi', below: Role, bound: number) => {
    const ratios = of(above).map((one, round) => one / of(below)[round]!)
    const ratio = median(ratios)
    return `| ${says} | at least ${bound} | ${ratio.toFixed(1)} | ${ratio >= bound ? 'kept' : '**not kept**'} |`
  }
  return `<!-- Written by \`npm run bench\`; do not edit. -->

# What counting costs

CPU nanoseconds for one call, the loop included: the median of ${rounds} rounds, and the lowest and highest. Each row is a
process of its own; they took turns.

Machine: ${cpus().length} × ${cpus()[0]?.model.trim()}, load ${load.toFixed(1)}, Node ${process.versions.node}, uWSGI ${version} (its Python plugin, called in a worker).

| | ns | lowest to highest |
|---|---:|---|
${row('ours: `metric.inc()`', 'handle')}
${row("ours: `uwsgi.metricInc('hits')`", 'byName')}
${row("ours: `requests.labels('GET', '200').inc()`", 'labels')}
${row('ours: `metric.set(n)`', 'set')}
${row('uWSGI: `metric_inc`', 'uwsgi')}
${row('prom-client: `counter.inc()`', 'prom')}
${row('prom-client: `counter.inc({ method, status })`', 'promLabels')}
${row('prom-client: `gauge.set(n)`', 'promSet')}

Ours count for all processes at once; prom-client's for the one that calls.

| times as fast | bound | measured | |
|---|---|---:|---|
${floor('`metric.inc()` as uWSGI', 'uwsgi', 'handle', 8)}
${floor('`metric.inc()` as prom-client', 'prom', 'handle', 1.3)}
${floor('`labels(…).inc()` as prom-client with labels', 'promLabels', 'labels', 4)}

# What reading costs

CPU microseconds to make the document of ${series} metrics.

| | µs | lowest to highest |
|---|---:|---|
${row('ours: every process is in it, and none was asked', 'read', 1000)}
${row('prom-client: two workers’ answers put together, without the messages that bring them', 'promRead', 1000)}

To do it again: \`apt-get install uwsgi-core uwsgi-plugin-python3\`, \`npm ci --prefix bench\`, \`npm run bench\`.
`
}
