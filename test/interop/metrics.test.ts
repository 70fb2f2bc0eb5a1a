// Every default metric beside the real uWSGI's: two workers with two cores each, here
// and there, get the same requests. Names, order, types and OIDs must be the same, and
// each value what the client has seen. What differs is named by docs/differences.md.
//
// UWSHM_FULL=1 sends twenty times as many, and prints all values side by side.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { app, folder, readAll, run, until } from '../harness.ts'

const isFull = process.env.UWSHM_FULL === '1'
const plain = isFull ? 4000 : 200
const thrown = isFull ? 100 : 6
const slept = 10
const sleepMs = 20

type Figures = Record<string, { type: number; oid: string; value: number }>
interface Document {
  metrics: Figures
  workers: { id: number; pid: number; status: string }[]
}
const sides = ['uwsgi', 'ours'] as const
type Name = (typeof sides)[number]

/** One of the two, and what a client has seen of it. */
class Side {
  readonly name: Name
  private readonly dir: string
  requests = 0
  exceptions = 0
  received = 0
  longestUs = 0
  totalUs = 0
  startedAt = performance.now()

  constructor(name: Name, dir: string) {
    this.name = name
    this.dir = dir
  }

  get socket(): string {
    return join(this.dir, `${this.name}.http`)
  }

  get stats(): string {
    return join(this.dir, `${this.name}.stats`)
  }

  async document(): Promise<Document> {
    return JSON.parse(await readAll({ path: this.stats })) as Document
  }

  async request(path: string): Promise<void> {
    const begun = performance.now()
    const bytes = await exchange(this.socket, path)
    const tookUs = (performance.now() - begun) * 1000
    this.requests++
    this.received += bytes
    this.totalUs += tookUs
    this.longestUs = Math.max(this.longestUs, tookUs)
  }

  /** `count` times, four at once. */
  async requestMany(count: number, path: string): Promise<void> {
    let left = count
    const one = async () => {
      while (left-- > 0) await this.request(path)
    }
    await Promise.all([one(), one(), one(), one()])
  }

  /** When all of that is in the metrics, which uWSGI collects once a second. */
  settled(what = (_: Values) => true): Promise<Values> {
    return until(`${this.name} has counted ${this.requests} requests`, async () => {
      const { metrics, workers } = await this.document()
      const values = new Values(this, metrics, workers)
      const isCounted = values.of('worker.0.requests') === this.requests && values.sum('requests') === this.requests
      // Memory is looked at once a second, and a worker that begins grows meanwhile.
      const isFed =
        ['1', '2'].every((id) => isNear(values.of(`worker.${id}.rss_size`), values.memory(id, 1))) &&
        values.of('core.total_running_time') === values.sum('running_time')
      return isCounted && isFed && values.of('core.idle_workers') === 2 && what(values) && values
    })
  }
}

/** Bytes of the whole answer. */
function exchange(path: string, url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    socket.on('error', reject).on('data', () => {})
    socket.on('close', () => resolve(socket.bytesRead))
    socket.write(`GET ${url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
  })
}

class Values {
  readonly side: Side
  readonly metrics: Figures
  readonly workers: Document['workers']

  constructor(side: Side, metrics: Figures, workers: Document['workers']) {
    this.side = side
    this.metrics = metrics
    this.workers = workers
  }

  of(name: string): number {
    return this.metrics[name]!.value
  }

  /** Over the two workers. */
  sum(name: string): number {
    return this.of(`worker.1.${name}`) + this.of(`worker.2.${name}`)
  }

  /** Over the cores of those workers. */
  ofCores(workers: number[], name: string): number {
    return workers.flatMap((id) => [0, 1].map((core) => this.of(`worker.${id}.core.${core}.${name}`))).reduce(add)
  }

  /** In bytes, as the kernel says it now. */
  memory(worker: string, column: 0 | 1): number {
    const { pid } = this.workers.find(({ id }) => id === Number(worker))!
    return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[column]) * 4096
  }
}

const add = (a: number, b: number) => a + b
const isNear = (value: number, other: number) => value > other / 2 && value < other * 2

/** What a metric must say; `[, n]`: the worker or socket that its name has. Each metric has one row. */
const truths: [names: RegExp, isTrue: (value: number, now: Values, n: string) => boolean][] = [
  [/^core\.(?:un)?routed_signals$/, (value) => value === 0],
  [/^core\.busy_workers$/, (value) => value === 0],
  [/^core\.idle_workers$/, (value) => value === 2],
  [/^core\.overloaded$/, (value, { side }) => value <= (performance.now() - side.startedAt) / 1000 + 1],
  [/^worker\.0\.requests$/, (value, { side }) => value === side.requests],
  [/^worker\.([12])\.requests$/, (value, now, n) => value > 0 && value === now.ofCores([Number(n)], 'requests')],
  [/^worker\.([12])\.delta_requests$/, (value, now, n) => value === now.of(`worker.${n}.requests`)],
  [/^worker\.([12])\.respawns$/, (value) => value === 1],
  [/^worker\.([12])\.avg_response_time$/, (value, { side }) => value > 0 && value <= side.longestUs],
  [/^worker\.([12])\.total_tx$/, (value, now) => value > 0 && now.sum('total_tx') === now.side.received],
  [/^worker\.([12])\.rss_size$/, (value, now, n) => isNear(value, now.memory(n, 1))],
  [/^worker\.([12])\.vsz_size$/, (value, now, n) => isNear(value, now.memory(n, 0))],
  [/^worker\.([12])\.running_time$/, (value, now) => value > 0 && now.sum('running_time') <= now.side.totalUs],
  [/^worker\.[12]\.core\.\d\.requests$/, (_, now) => now.ofCores([1, 2], 'requests') === now.side.requests],
  [/^worker\.[12]\.core\.\d\.exceptions$/, (_, now) => now.ofCores([1, 2], 'exceptions') === now.side.exceptions],
  [/^worker\.[12]\.core\.\d\.(?:routed|static|offloaded)_requests$/, (value) => value === 0],
  [/^worker\.[12]\.core\.\d\.(?:read|write)_errors$/, (value) => value === 0],
  [/^core\.total_tx$/, (value, { side }) => value === side.received],
  [/^core\.total_running_time$/, (value, { side }) => value >= slept * sleepMs * 1000 && value <= side.totalUs],
  [/^core\.avg_response_time$/, (value, now) => value === Math.trunc(now.sum('avg_response_time') / 2)],
  [/^(?:core\.total_)?rss(?:_size)?$/, (value, now) => value === now.sum('rss_size')],
  [/^(?:core\.total_)?vsz(?:_size)?$/, (value, now) => value === now.sum('vsz_size')],
  [/^socket\.0\.listen_queue$/, (value) => value === 0],
]

/** Where uWSGI says 0 and we say more; its sentence stands in docs/differences.md. */
const fed = 'of `worker.0` only `requests` is fed; `failed_requests` is always 0'
const differ: [names: RegExp, ours: (value: number, now: Values, n: string) => boolean, row: string][] = [
  [/^worker\.([12])\.failed_requests$/, (value, now, n) => value === now.ofCores([Number(n)], 'exceptions'), fed],
  [/^worker\.0\.failed_requests$/, (value, { side }) => value === side.exceptions, fed],
  [/^worker\.0\.(?:avg_response_time)$/, (value, now) => value === now.of('core.avg_response_time'), fed],
  [/^worker\.0\.delta_requests$/, (value, now) => value === now.sum('delta_requests'), fed],
  [/^worker\.0\.respawns$/, (value, now) => value === now.sum('respawns'), fed],
  [/^worker\.0\.total_tx$/, (value, now) => value === now.sum('total_tx'), fed],
  [/^worker\.0\.rss_size$/, (value, now) => value === now.sum('rss_size'), fed],
  [/^worker\.0\.vsz_size$/, (value, now) => value === now.sum('vsz_size'), fed],
  [/^worker\.0\.running_time$/, (value, now) => value === now.sum('running_time'), fed],
]

test('every default metric says what uWSGI says, under the same name, type and OID', async (t) => {
  if (spawnSync('uwsgi', ['--plugin', 'python3', '--version']).status !== 0)
    return t.skip('missing: uwsgi-core and uwsgi-plugin-python3')
  const differences = readFileSync(new URL('../../docs/differences.md', import.meta.url), 'utf8')
  const [theirs, ours] = await Promise.all(start(t))
  const [there, here] = await Promise.all([load(theirs!), load(ours!)])

  const names = Object.keys(there.metrics)
  assert.deepEqual(Object.keys(here.metrics).slice(0, names.length), names)
  for (const [name, { type, oid }] of Object.entries(there.metrics)) {
    const expected = name.endsWith('.running_time') ? oid.replace(/13$/, '15') : oid
    assert.deepEqual([here.metrics[name]!.type, here.metrics[name]!.oid], [type, expected], name)
  }
  assert.ok(differences.includes('running_time` is 3.N.15'))

  for (const name of names) {
    const shared = truths.filter(([pattern]) => pattern.test(name))
    const other = differ.filter(([pattern]) => pattern.test(name))
    assert.equal(shared.length + other.length, 1, `${name} has one row`)
    for (const now of [there, here]) {
      const value = now.of(name)
      const [pattern, isTrue] = shared[0] ?? other[0]!
      const n = pattern.exec(name)![1] ?? ''
      const holds = other.length > 0 && now === there ? value === 0 : isTrue(value, now, n)
      assert.ok(holds, `${name} of ${now.side.name} is ${value}`)
    }
    if (other.length > 0) assert.ok(differences.includes(other[0]![2]), `docs/differences.md says why ${name} differs`)
  }

  for (const name of Object.keys(here.metrics).slice(names.length)) {
    const told = name.replace(/^worker\.\d/, 'worker.N').replace(/^cache\.pages/, 'cache.NAME')
    assert.ok(differences.includes(`\`${told}\``), `docs/differences.md names ${told}, which uWSGI does not have`)
  }
  if (isFull) for (const name of names) t.diagnostic(`| ${name} | ${there.of(name)} | ${here.of(name)} |`)

  await respawn(theirs!)
  await respawn(ours!)
})

/** What is counted survives the worker, here as there, and `delta_requests` begins anew. */
async function respawn(side: Side): Promise<void> {
  const before = (await side.document()).workers.find(({ id }) => id === 1)!.pid
  process.kill(before, 'SIGKILL')
  await until('there is another', async () => {
    const { pid, status } = (await side.document()).workers.find(({ id }) => id === 1)!
    return pid !== before && status === 'idle'
  })
  await side.requestMany(40, '/bytes/10')
  const now = await side.settled((now) => now.of('worker.1.respawns') === 2 && now.sum('total_tx') === side.received)
  assert.equal(now.of('worker.2.respawns'), 1, side.name)
  assert.ok(now.of('worker.1.delta_requests') < now.of('worker.1.requests'), side.name)
  assert.equal(now.of('worker.2.delta_requests'), now.of('worker.2.requests'), side.name)
}

function start(t: TestContext): Promise<Side>[] {
  const dir = folder(t)
  return sides.map(async (name) => {
    const side = new Side(name, dir)
    const args = ['--http-socket', side.socket, '--stats', side.stats, '--enable-metrics', '-p', '2', '--threads', '2']
    if (name === 'ours') run(t, [...args, '--cache2', 'name=pages,items=10', app('differential.mjs')])
    else {
      const python = ['--plugin', 'python3', '--wsgi-file', app('differential.py'), '--need-app', '--disable-logging']
      const child = spawn('uwsgi', [...python, '--master', '--die-on-term', '--memory-report', ...args], {
        stdio: 'ignore',
      })
      const ended = new Promise((resolve) => child.once('exit', resolve))
      t.after(async () => {
        child.kill('SIGINT') // at once, and its workers with it
        await ended
      })
    }
    await until(`${name} serves`, async () => {
      try {
        const { workers } = await side.document()
        return workers.every(({ pid, status }) => pid > 0 && status === 'idle')
      } catch {
        return false // not there yet
      }
    })
    return side
  })
}

async function load(side: Side): Promise<Values> {
  await side.requestMany(plain, '/bytes/1000')
  await side.requestMany(thrown, '/throw/1')
  side.exceptions += thrown
  await side.requestMany(slept, `/sleep/${sleepMs}`)
  return await side.settled((now) => now.sum('total_tx') === side.received)
}
