// What native code tells of waits that do not block: for each token once, how it ended.

import { native } from '../native.ts'

/** 0 its time is over, 1 it has what it wanted, 2 it would wait for ever. */
export type Outcome = 0 | 1 | 2

const waits = new Map<number, (outcome: Outcome) => void>() // by token
let isTold = false

/** Before the first call that may wait. */
export function listen(): void {
  if (isTold) return
  isTold = true
  native.onLock((token, outcome) => {
    const settle = waits.get(token)!
    waits.delete(token)
    settle(outcome)
  })
}

export function onOutcome(token: number, settle: (outcome: Outcome) => void): void {
  waits.set(token, settle)
}

/** Gives up. False: its outcome is on its way, and will be told. */
export function giveUp(token: number): boolean {
  return native.lockCancel(token) && waits.delete(token)
}
