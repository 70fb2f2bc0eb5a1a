// The master: makes the segments, binds the sockets, starts the workers, and
// stays beside them until it is told to stop. It never accepts a request and
// never waits for anybody.

import { existsSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Crew } from './crew.ts'
import { UwsgiError } from './errors.ts'
import { createInstance, keepHouse } from './instance.ts'
import { closeListener, type Listener, listenAt, removeFile } from './listen.ts'
import { log } from './log.ts'
import { native } from './native.ts'
import type { Options } from './options.ts'
import { StatsServer } from './stats/server.ts'
import { typescriptArguments } from './typescript.ts'
import { version } from './version.ts'

/** Returns when everything is bound and the workers are started. Whatever is wrong throws before the first of them. */
export function startMaster(options: Options): void {
  enter(options.chdir)
  const app = applicationOf(options)
  const command = [...typescriptArguments(app, options.nodeArg), ...options.nodeArg, workerModule(), app]

  log(`*** Starting uwshm ${version} (64bit) on [${uwsgiTime(new Date())}] ***`)
  createInstance(options)
  const { sockets, stats } = bindAll(options)
  log(`your server socket listen backlog is limited to ${options.listen} connections`)
  log(`your mercy for graceful operations on workers is ${options.workerReloadMercy} seconds`)
  log(`*** Operational MODE: ${options.processes === 1 ? 'single process' : 'preforking'} ***`)
  log(`spawned uWSGI master process (pid: ${process.pid})`)

  const { id, fds } = native.instance()
  const crew = new Crew({
    command: [...command, ...options.appArguments],
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
    onHopeless(why) {
      log(why)
      leaveAtOnce(1)
    },
  })

  function leaveAtOnce(status: number): never {
    crew.signal('SIGKILL')
    for (const listener of [...sockets, ...(stats ? [stats] : [])]) removeFile(listener)
    process.exit(status)
  }

  let stoppedAt: number | null = null
  async function stop(): Promise<void> {
    if (stoppedAt !== null) {
      // Under `npm start` one Ctrl-C arrives twice: from the terminal and from npm.
      if (Date.now() - stoppedAt > 300) leaveAtOnce(0)
      return
    }
    stoppedAt = Date.now()
    log('SIGINT/SIGTERM received...killing workers...')
    // Who comes now is refused, not left waiting for workers that leave.
    sockets.forEach(closeListener)
    await crew.stop()
    log('goodbye to uWSGI.')
    leaveAtOnce(0)
  }

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT'] as const) process.on(signal, () => void stop())
  process.on('SIGHUP', () => log('SIGHUP: reloading is not built yet; nothing is done'))

  crew.start()
  if (stats) {
    new StatsServer(stats, sockets)
    log(`*** Stats server enabled on ${stats.name} fd: ${stats.fd} ***`)
  }
  setInterval(() => {
    crew.look()
    keepHouse()
  }, 1000)
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

/** `Sat Nov 21 01:16:21 2026`, as in uWSGI's log. */
function uwsgiTime(date: Date): string {
  const [day, month, number, year] = date.toDateString().split(' ')
  return `${day} ${month} ${number} ${date.toTimeString().slice(0, 8)} ${year}`
}
