// What the watcher of user locks has seen, in the words that operators of uWSGI
// know: its lines begin with [deadlock-detector].
//
// The watching is done by a native thread of the master, which releases first
// and tells afterwards: a busy event loop here delays the line, not the release.

import { log } from '../log.ts'
import { type LockNews, native } from '../native.ts'

/** For the master, once. `alarmSeconds`: tell also of locks that are held for longer; 0 = only when their holder is stopped. */
export function watchLocks(alarmSeconds: number): void {
  let circle: string[] = []
  native.watchLocks(alarmSeconds * 1000, (news, lock, pid, worker, ms, waiters) => {
    if (news !== 'circle') return log(sentence(news, lock, process(pid, worker), ms, waiters))
    // One call for each link, the youngest first; the last says 1.
    circle.push(`${process(pid, worker)} waits for ${lock}`)
    if (waiters > 1) return
    log(`[deadlock-detector] a circle: ${circle.join(', ')}; the first of them gets DEADLOCK`)
    circle = []
  })
}

function sentence(news: Exclude<LockNews, 'circle'>, lock: string, who: string, ms: number, waiters: number): string {
  const seconds = `${(ms / 1000).toFixed(1)} s`
  switch (news) {
    case 'died':
      return `[deadlock-detector] ${who} was holding lock ${lock} and ended; released after ${seconds}, ${waiters} waiting`
    case 'held':
      return `[deadlock-detector] ${who} holds lock ${lock} for ${seconds}; it is alive, ${waiters} waiting`
    case 'stopped':
      return `[deadlock-detector] ${who} holds lock ${lock} for ${seconds} and is stopped; ${waiters} waiting until it goes on or ends`
    case 'free':
      return `[deadlock-detector] lock ${lock} moves again; ${who} had it for ${seconds}`
  }
}

function process(pid: number, worker: number): string {
  return worker === 0 ? `pid ${pid}` : `pid ${pid} (worker ${worker})`
}
