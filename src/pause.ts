// SIGTSTP to the master pauses the group, and resumes it: nobody new is served.
//
// New connections wait in the kernel. What was accepted goes on, but no connection
// outlives its answer, so that a client who keeps one is not served around the
// pause. Whether there is a pause is said in shared memory; a signal only has us
// look, and a worker that starts meanwhile looks by itself.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Server as HttpServer, ServerResponse } from 'node:http'
import type { Server } from 'node:net'
import { lastOfItsConnection } from './farewell.ts'
import { logVerbose } from './log.ts'
import { native } from './native.ts'

const requestStart = 'http.server.request.start'
const lookAgainMs = 50

export class Pause {
  private readonly worker: number
  private readonly servers: ReadonlySet<Server>
  private readonly running: () => ServerResponse[]
  private isOn = false
  private isSuspended = false
  private timer: NodeJS.Timeout | undefined

  constructor(worker: number, servers: ReadonlySet<Server>, running: () => ServerResponse[]) {
    this.worker = worker
    this.servers = servers
    this.running = running
    for (const signal of ['SIGTSTP', 'SIGCONT'] as const) process.on(signal, () => this.look())
    this.look()
  }

  /** `server` has begun to listen, and nothing was accepted yet. */
  listening(server: Server): void {
    if (!this.isOn) return
    native.setAccepting(descriptorsOf([server]), false)
    this.settle()
  }

  private look(): void {
    const isOn = native.paused()
    if (isOn === this.isOn) return
    this.isOn = isOn
    native.setAccepting(descriptorsOf(this.servers), !isOn)
    if (isOn) {
      subscribe(requestStart, this.begun)
      this.running().forEach(lastOfItsConnection)
      this.settle()
    } else {
      unsubscribe(requestStart, this.begun)
      clearTimeout(this.timer)
      if (this.isSuspended) logVerbose(`*** worker ${this.worker} resumed ***`)
      this.isSuspended = false
    }
  }

  private readonly begun = (message: unknown) => {
    lastOfItsConnection((message as { response: ServerResponse }).response)
    this.settle()
  }

  /** Closes what is idle, until nothing runs. It looks, for not every request that ends raises an event. */
  private settle(): void {
    clearTimeout(this.timer)
    const listening = [...this.servers].filter((server) => server.listening)
    for (const server of listening) (server as Partial<HttpServer>).closeIdleConnections?.()
    if (this.running().length > 0) this.timer = setTimeout(() => this.settle(), lookAgainMs).unref()
    else if (!this.isSuspended && listening.length > 0) {
      logVerbose(`*** worker ${this.worker} suspended ***`)
      this.isSuspended = true
    }
  }
}

function descriptorsOf(servers: Iterable<Server>): number[] {
  const handles = [...servers].map((server) => (server as { _handle?: { fd?: number } | null })._handle)
  return handles.flatMap((handle) => (handle?.fd !== undefined && handle.fd >= 0 ? [handle.fd] : []))
}
