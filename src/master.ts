// The master: makes the segments, binds the sockets, starts the workers, and
// stays beside them until it is told to stop. It never accepts a request and
// never waits for anybody.

import { existsSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Alarms } from './alarms/alarms.ts'
import { CacheReport } from './cache/report.ts'
import { Crew } from './crew.ts'
import { UwsgiError } from './errors.ts'
import { createInstance, keepHouse } from './instance.ts'
import { closeListener, type Listener, listenAt, removeFile } from './listen.ts'
import { watchLocks } from './locks/watcher.ts'
import { log, logVerbose, uwsgiTime } from './log.ts'
import { Collection } from './metrics/collection.ts'
import type { MetricsPlan } from './metrics/plan.ts'
import { native } from './native.ts'
import type { Options } from './options.ts'
import { StatsServer } from './stats/server.ts'
import { Statistics } from './stats/snapshot.ts'
import { typescriptArguments } from './typescript.ts'
import { version } from './version.ts'

/** How long alarms may take at the end. */
const farewellMs = 2000

/** Returns when everything is bound and the workers are started. Whatever is wrong throws before the first of them. */
export function startMaster(options: Options): void {
  enter(options.chdir)
  const app = applicationOf(options)
  const command = [...typescriptArguments(app, options.nodeArg), ...options.nodeArg, workerModule(), app]

  const alarms = new Alarms(options)
  log(`*** Starting uwshm ${version} (64bit) on [${uwsgiTime(new Date())}] ***`)
  const metrics = createInstance(options)
  log(`lock engine: ${native.lockEngineTitle()}`)
  watchLocks(options.lockAlarm)
  const { sockets, stats } = bindAll(options)
  const collection = new Collection(
    metrics,
    sockets.map(({ fd }) => fd),
    (alarm, message) => alarms.raise(alarm, message),
  )
  alarms.start((isHeard) => collection.signalled(isHeard))
  log(`your server socket listen backlog is limited to ${options.listen} connections`)
  log(`your mercy for graceful operations on workers is ${options.workerReloadMercy} seconds`)
  if (metrics.slots > 0) tellOfMetrics(metrics)
  log(`*** Operational MODE: ${options.processes === 1 ? 'single process' : 'preforking'} ***`)
  log(`spawned uWSGI master process (pid: ${process.pid})`)
  new Master([...command, ...options.appArguments], app, options, sockets, stats, collection, alarms).start()
}

class Master {
  private readonly crew: Crew
  private readonly sockets: Listener[]
  private readonly stats: Listener | undefined
  private readonly collection: Collection
  private readonly alarms: Alarms
  private readonly options: Options
  private readonly statistics: Statistics
  private stoppedAt: number | null = null
  private isEnding = false
  private complaint = ''
  private readonly caches: CacheReport

  constructor(
    command: string[],
    app: string,
    options: Options,
    sockets: Listener[],
    stats: Listener | undefined,
    collection: Collection,
    alarms: Alarms,
  ) {
    this.collection = collection
    this.alarms = alarms
    const { id, fds } = native.instance()
    this.sockets = sockets
    this.stats = stats
    this.options = options
    this.statistics = new Statistics(sockets, options)
    this.caches = new CacheReport(options)
    this.crew = new Crew({
      command,
      handover: {
        processes: options.processes,
        master: process.pid,
        instance: id,
        segments: fds.length,
        listeners: sockets.map(({ address, name, backlog }) => ({ address, name, backlog })),
        app,
      },
      fds: [...fds, ...sockets.map(({ fd }) => fd)],
      mercy: options.workerReloadMercy,
      lines: alarms.lines,
      onFault: (fault) => alarms.lookAtDeath(fault),
      onDeath: () => this.keepHouse(),
      onHopeless: (why) => {
        log(why)
        void this.end(1)
      },
    })
  }

  start(): void {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT'] as const) process.on(signal, () => this.stop())
    process.on('SIGTSTP', () => this.pause())
    process.on('SIGHUP', () => log('SIGHUP: reloading is not built yet; nothing is done'))
    this.crew.start()
    this.collection.start()
    if (this.stats) {
      new StatsServer(this.stats, this.statistics, this.options.statsHttp)
      log(`*** Stats server enabled on ${this.stats.name} fd: ${this.stats.fd} ***`)
    }
    setInterval(() => {
      this.crew.look()
      this.statistics.look()
      this.alarms.lookAtBacklogs(this.sockets)
      this.keepHouse()
    }, 1000)
  }

  private stop(): void {
    if (this.stoppedAt !== null) {
      // Under `npm start` one Ctrl-C arrives twice: from the terminal and from npm.
      if (performance.now() - this.stoppedAt > 300) this.leave(0)
      return
    }
    this.stoppedAt = performance.now()
    log('SIGINT/SIGTERM received...killing workers...')
    // Who comes now is refused, not left waiting for workers that leave.
    this.sockets.forEach(closeListener)
    void this.crew.stop().then(() => {
      log('goodbye to uWSGI.')
      void this.end(0)
    })
  }

  /** Workers obey the flag, whoever sends them a signal: a terminal's Ctrl-Z reaches them all, and turns it once. */
  private pause(): void {
    if (this.stoppedAt !== null) return
    const on = !native.paused()
    native.pause(on)
    logVerbose(
      on
        ? '*** PAUSE (press start to resume, if you do not have a joypad send SIGTSTP) ***'
        : '*** (SIGTSTP received) resuming workers ***',
    )
    this.crew.lookAtPause()
  }

  /** Once alarms that are under way have come to their end. */
  private async end(status: number): Promise<void> {
    if (this.isEnding) return
    this.isEnding = true
    await this.alarms.settle(farewellMs)
    this.leave(status)
  }

  /** At once: whatever still runs is killed. */
  private leave(status: number): never {
    this.crew.signal('SIGKILL')
    this.collection.stop()
    this.alarms.close()
    for (const listener of [...this.sockets, ...(this.stats ? [this.stats] : [])]) removeFile(listener)
    process.exit(status)
  }

  /** A cache in trouble is no reason to end: its trouble is told, once. */
  private keepHouse(): void {
    try {
      keepHouse()
      this.caches.look()
      this.complaint = ''
    } catch (error) {
      const { message } = error as Error
      if (message !== this.complaint) log(`uwshm: ${message}`)
      this.complaint = message
    }
  }
}

/** The lines that operators of uWSGI know. */
function tellOfMetrics({ rows, custom, slots }: MetricsPlan): void {
  for (const name of custom) log(`added custom metric: ${name}`)
  log(`initialized ${rows.length} metrics`)
  log(`memory allocated for metrics storage: ${slots * 8} bytes (${(slots * 8) >> 20} MB)`)
}

function enter(directory: string | undefined): void {
  if (directory === undefined) return
  try {
    process.chdir(directory)
  } catch (error) {
    throw new UwsgiError('NO_DIRECTORY', directory, (error as NodeJS.ErrnoException).code)
  }
}

function applicationOf({ app }: Options): string {
  if (app === undefined) throw new UwsgiError('APP_NEEDED')
  const path = resolve(app)
  if (!existsSync(path) || !statSync(path).isFile()) throw new UwsgiError('APP_MISSING', path)
  return path
}

/** The workers' entry stands beside this file, built or not. */
function workerModule(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? 'worker.ts' : 'worker.js', import.meta.url))
}

/** All sockets or none: a file that was made is removed when a later address fails. */
function bindAll(options: Options): { sockets: Listener[]; stats: Listener | undefined } {
  const bound: Listener[] = []
  try {
    for (const address of options.httpSocket) {
      const listener = listenAt(address, options.listen)
      bound.push(listener)
      const kind = address.kind === 'tcp' ? 'TCP' : 'UNIX'
      log(`uwsgi socket ${bound.length - 1} bound to ${kind} address ${listener.name} fd ${listener.fd}`)
    }
    const stats = options.stats && listenAt(options.stats, options.listen)
    return { sockets: bound, stats }
  } catch (error) {
    bound.forEach(closeListener)
    throw error
  }
}
