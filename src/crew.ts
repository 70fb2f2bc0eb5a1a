// The workers of one master: plain children with inherited descriptors.
//
// No node:cluster: there the requests that wait for a killed worker are lost.
// Here they wait in the kernel at a socket which the master keeps open, and the
// next worker to accept gets them.

import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Readable } from 'node:stream'
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
      if (pid !== undefined) log(`spawned uWSGI worker ${post.id} (pid: ${pid}, cores: 1)`)
    }
  }

  /** Notes who serves by now; to be called now and then. */
  look(): void {
    for (const { id, accepting } of native.workers()) {
      const post = this.posts[id - 1]!
      if (!accepting || post.child === null) continue
      post.readyAt ??= Date.now()
      post.hasServed = true
    }
  }

  /** Lets running requests end; resolves when all workers are gone. */
  stop(): Promise<void> {
    this.stoppedAt = Date.now()
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

  signal(name: NodeJS.Signals): void {
    for (const { child } of this.posts) child?.kill(name)
  }

  private killTheSlow(): void {
    for (const { id, child } of this.posts)
      if (child !== null)
        log(`worker ${id} (pid: ${child.pid}) is taking too much time to die...NO MERCY !!!`)
    this.signal('SIGKILL')
  }

  private spawn(post: Post): number | undefined {
    const { command, handover, fds } = this.orders
    const child = spawn(process.execPath, command, {
      env: { ...process.env, ...toEnvironment({ ...handover, worker: post.id }) },
      stdio: ['ignore', 'inherit', 'inherit', ...fds, 'pipe'],
    })
    post.child = child
    post.readyAt = null
    if (child.pid === undefined) {
      child.once('error', (error) =>
        this.buried(post, null, `cannot start worker ${post.id}: ${error.message}`),
      )
      return undefined
    }
    native.workerSpawned(post.id, child.pid, Math.floor(Date.now() / 1000))
    let report = ''
    const pipe = child.stdio[reportFd(handover)] as Readable
    pipe
      .setEncoding('utf8')
      .on('data', (text: string) => {
        report += text
      })
      .on('error', () => {})
    child.once('exit', (status, signal) => this.died(post, status, signal))
    // The report is complete when the pipe is closed, which may be after the exit.
    child.once('close', (status) => {
      if (post.child === child) this.failed(post, status, readReport(report))
    })
    return child.pid
  }

  private died(post: Post, status: number | null, signal: NodeJS.Signals | null): void {
    this.look()
    native.workerGone(post.id)
    native.reclaim()
    if (this.stoppedAt !== null) {
      log(`worker ${post.id} buried after ${Math.round((Date.now() - this.stoppedAt) / 1000)} seconds`)
      this.buried(post, null)
      return
    }
    const how =
      signal === null ? `died, status ${status}` : `died, killed by signal ${constants.signals[signal]}`
    log(`DAMN ! worker ${post.id} (pid: ${post.child?.pid}) ${how} :( trying respawn ...`)
    if (post.readyAt !== null) this.buried(post, Date.now() - post.readyAt)
  }

  /** It is gone and never served. */
  private failed(post: Post, status: number | null, failure: Failure | null): void {
    if (this.stoppedAt !== null) return
    const why = failure?.why ?? `worker ${post.id} ended before it served`
    // A signal came from outside; only what the application did itself speaks against it.
    const isOwnFault = status !== null
    const isHopeless =
      !this.posts.some(({ hasServed }) => hasServed) || (failure?.hopeless && !post.hasServed)
    if (isOwnFault && isHopeless) this.orders.onHopeless(why)
    else this.buried(post, null, why)
  }

  private buried(post: Post, servedMs: number | null, why?: string): void {
    post.child = null
    if (this.stoppedAt !== null) {
      if (this.isEmpty()) this.onEmpty()
      return
    }
    if (why !== undefined) log(why)
    post.timer = setTimeout(() => {
      const pid = this.spawn(post)
      if (pid !== undefined) log(`Respawned uWSGI worker ${post.id} (new pid: ${pid})`)
    }, post.patience.afterDeath(servedMs))
  }

  private isEmpty(): boolean {
    return this.posts.every(({ child }) => child === null)
  }
}
