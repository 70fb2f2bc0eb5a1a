// The workers of one master: plain children with inherited descriptors.
//
// No node:cluster: there the requests that wait for a killed worker are lost.
// Here they wait in the kernel at a socket which the master keeps open, and the
// next worker to accept gets them.

import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Readable } from 'node:stream'
import type { Fault } from './alarms/alarms.ts'
import type { LogLines } from './alarms/log-lines.ts'
import { type Failure, type Handover, readReport, reportFd, toEnvironment } from './handover.ts'
import { log } from './log.ts'
import { native } from './native.ts'
import { Patience } from './respawn.ts'

export interface CrewOrders {
  /** Arguments of node up to the application's own. */
  command: string[]
  handover: Omit<Handover, 'worker'>
  /** Descriptors for the places from 3 on, the report's pipe excepted. */
  fds: number[]
  /** Seconds between SIGTERM and SIGKILL. */
  mercy: number
  /** Null: workers write to the master's own stdout and stderr. */
  lines: LogLines | null
  /** A worker has died of a signal. */
  onFault(fault: Fault): void
  /** What the dead left half done is to be finished. */
  onDeath(): void
  /** No worker ever served, or none can: the master should end. */
  onHopeless(why: string): void
}

interface Post {
  id: number
  child: ChildProcess | null
  patience: Patience
  /** When the present child was first seen to serve. */
  readyAt: number | null
  /** Did any of its children ever serve? */
  hasServed: boolean
  timer?: NodeJS.Timeout
}

export class Crew {
  private readonly posts: Post[]
  private readonly orders: CrewOrders
  private stoppedAt: number | null = null
  private onEmpty = () => {}

  constructor(orders: CrewOrders) {
    this.orders = orders
    this.posts = Array.from({ length: orders.handover.processes }, (_, index) => {
      return { id: index + 1, child: null, patience: new Patience(), readyAt: null, hasServed: false }
    })
  }

  start(): void {
    for (const post of this.posts) {
      const pid = this.spawn(post)
      if (pid !== undefined) log(`spawned uWSGI worker ${post.id} (pid: ${pid}, cores: ${native.coreCount()})`)
    }
  }

  /** Notes who serves by now; to be called now and then. */
  look(): void {
    for (const { id, accepting } of native.workers()) {
      const post = this.posts[id - 1]!
      if (!accepting || post.child === null) continue
      post.readyAt ??= performance.now()
      post.hasServed = true
    }
  }

  /** Lets running requests end; resolves when all workers are gone. */
  stop(): Promise<void> {
    this.stoppedAt = performance.now()
    for (const { timer } of this.posts) clearTimeout(timer)
    this.signal('SIGTERM')
    const merciless = setTimeout(() => this.killTheSlow(), this.orders.mercy * 1000)
    return new Promise((resolve) => {
      this.onEmpty = () => {
        clearTimeout(merciless)
        resolve()
      }
      if (this.isEmpty()) this.onEmpty()
    })
  }

  /** The group was paused or resumed: has every worker look. */
  lookAtPause(): void {
    this.look()
    // One that starts may not await SIGTSTP yet, so that a terminal's has stopped it: it is to go on, and looks by itself.
    for (const { child, readyAt } of this.posts) child?.kill(readyAt === null ? 'SIGCONT' : 'SIGTSTP')
  }

  signal(name: NodeJS.Signals): void {
    for (const { child } of this.posts) child?.kill(name)
  }

  private killTheSlow(): void {
    for (const { id, child } of this.posts)
      if (child !== null) log(`worker ${id} (pid: ${child.pid}) is taking too much time to die...NO MERCY !!!`)
    this.signal('SIGKILL')
  }

  private spawn(post: Post): number | undefined {
    const { command, handover, fds, lines } = this.orders
    const output = lines === null ? 'inherit' : 'pipe'
    const failed = (error: unknown) => this.failed(post, `cannot start worker ${post.id}: ${(error as Error).message}`)
    let child: ChildProcess
    try {
      child = spawn(process.execPath, command, {
        env: { ...process.env, ...toEnvironment({ ...handover, worker: post.id }) },
        stdio: ['ignore', output, output, ...fds, 'pipe'],
      })
    } catch (error) {
      failed(error) // no memory is thrown, no process and no file left are told below
      return undefined
    }
    if (child.pid === undefined) {
      child.once('error', failed)
      return undefined
    }
    post.child = child
    post.readyAt = null
    native.workerSpawned(post.id, child.pid, Math.floor(Date.now() / 1000))

    for (const [fd, stream] of [child.stdout, child.stderr].entries())
      if (stream !== null) lines?.follow(stream, fd + 1)

    const report = child.stdio[reportFd(handover)] as Readable
    const told = report
      .setEncoding('utf8')
      .toArray()
      .then((parts) => readReport(parts.join('')))
      .catch(() => null)
    child.once('exit', (status, signal) => {
      const hasServed = this.died(post, status, signal)
      if (hasServed) this.replace(post, post.patience.afterDeath(hasServed.forMs, signal === 'SIGKILL'))
      else void told.then((failure) => this.judge(post, status, failure))
    })
    return child.pid
  }

  /** Notes the death; how long it served, null if it never did. */
  private died(post: Post, status: number | null, signal: NodeJS.Signals | null): { forMs: number } | null {
    this.look()
    const pid = post.child?.pid
    post.child = null
    if (signal !== null && pid !== undefined)
      this.orders.onFault({ worker: post.id, pid, signal, inFlight: requestsOf(post.id) })
    native.workerGone(post.id)
    this.orders.onDeath()
    if (this.stoppedAt === null) {
      const how = signal === null ? `status ${status}` : `killed by signal ${constants.signals[signal]}`
      log(`DAMN ! worker ${post.id} (pid: ${pid}) died, ${how} :( trying respawn ...`)
    } else {
      const seconds = Math.round((performance.now() - this.stoppedAt) / 1000)
      log(`worker ${post.id} buried after ${seconds} seconds`)
      if (this.isEmpty()) this.onEmpty()
    }
    return post.readyAt === null ? null : { forMs: performance.now() - post.readyAt }
  }

  /** It ended before it served: is there any use in another one? */
  private judge(post: Post, status: number | null, failure: Failure | null): void {
    if (this.stoppedAt !== null) return
    const why = failure?.why ?? `worker ${post.id} ended before it served`
    // A signal came from outside; only what the application did itself speaks against it.
    const isOwnFault = status !== null
    const isHopeless = !this.posts.some(({ hasServed }) => hasServed) || (failure?.hopeless && !post.hasServed)
    if (isOwnFault && isHopeless) this.orders.onHopeless(why)
    else this.failed(post, why)
  }

  private failed(post: Post, why: string): void {
    log(why)
    this.replace(post, post.patience.afterDeath(null))
  }

  private replace(post: Post, pauseMs: number): void {
    if (this.stoppedAt !== null) return
    post.timer = setTimeout(() => {
      const pid = this.spawn(post)
      if (pid !== undefined) log(`Respawned uWSGI worker ${post.id} (new pid: ${pid})`)
    }, pauseMs)
  }

  private isEmpty(): boolean {
    return this.posts.every(({ child }) => child === null)
  }
}

/** First words of what that worker had in flight, `GET /path`. */
function requestsOf(id: number): string[] {
  const heads = Array.from({ length: native.coreCount() }, (_, core) => native.coreHead(id, core))
  return heads.filter((head) => head !== null).map((head) => head.split('\n', 2).join(' '))
}
