// One alarm: it keeps a flood away from its action, and a slow action away from
// everybody else.
//
// A message that was raised less than --alarm-freq seconds ago is dropped. uWSGI
// compares with the last one only, so that two which alternate defeat it; we
// remember some more. What passes waits in a short queue for the action, which gets
// one message at a time and limited time for it.

import { logUnheard } from '../log.ts'
import type { Action } from './contract.ts'

const longestQueue = 64
const mostRemembered = 256
const usualPatienceMs = 30_000

export class Alarm {
  private readonly name: string
  private readonly action: Action
  private readonly freqMs: number
  /** When each was raised, the oldest first. */
  private readonly raisedAt = new Map<string, number>()
  private readonly queue: string[] = []
  private isBusy = false
  private complaint = ''
  private dropped = 0
  private onIdle = () => {}

  constructor(name: string, action: Action, freqMs: number) {
    this.name = name
    this.action = action
    this.freqMs = freqMs
  }

  /** False: it was dropped. `nowMs` of a clock that does not jump. */
  raise(message: string, nowMs = performance.now()): boolean {
    if (this.wasRaised(message, nowMs)) return false
    if (this.queue.length >= longestQueue) {
      if (this.dropped++ === 0) this.tell(`${longestQueue} messages wait, further ones are dropped`)
      return false
    }
    this.remember(message, nowMs)
    this.queue.push(message)
    if (!this.isBusy) void this.work()
    return true
  }

  /** Resolves when nothing waits. */
  get idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.isBusy) this.onIdle = resolve
      else resolve()
    })
  }

  close(): void {
    this.queue.length = 0
    this.action.close?.()
  }

  private wasRaised(message: string, nowMs: number): boolean {
    const before = this.raisedAt.get(message)
    return before !== undefined && nowMs - before < this.freqMs
  }

  private remember(message: string, nowMs: number): void {
    this.raisedAt.delete(message)
    this.raisedAt.set(message, nowMs)
    if (this.raisedAt.size > mostRemembered) this.raisedAt.delete(this.raisedAt.keys().next().value!)
  }

  private async work(): Promise<void> {
    this.isBusy = true
    for (let message = this.queue.shift(); message !== undefined; message = this.queue.shift()) await this.act(message)
    this.isBusy = false
    if (this.dropped > 0) this.tell(`${this.dropped} messages were dropped`)
    this.dropped = 0
    this.onIdle()
  }

  private async act(message: string): Promise<void> {
    const deadline = new AbortController()
    const { patienceMs = usualPatienceMs } = this.action
    let timer: NodeJS.Timeout | undefined
    try {
      const over = new Promise<never>((_, failed) => {
        timer = setTimeout(() => {
          deadline.abort()
          failed(new Error(`no end within ${patienceMs / 1000} seconds`))
        }, patienceMs).unref()
      })
      await Promise.race([this.action.raise(message, deadline.signal), over])
      if (this.complaint !== '') this.tell('works again')
      this.complaint = ''
    } catch (error) {
      const complaint = error instanceof Error ? error.message : String(error)
      if (complaint !== this.complaint) this.tell(`a message was lost: ${complaint}`)
      this.complaint = complaint
    } finally {
      clearTimeout(timer)
    }
  }

  /** uWSGI's own lines about alarms begin so, and never raise one. */
  private tell(text: string): void {
    logUnheard(`[uwsgi-alarm] ${this.name}: ${text}`)
  }
}
