// What a worker gets from its master: descriptors at fixed places, and one
// environment variable that says what they are.
//
//   0 1 2      nothing, the master's stdout, the master's stderr
//   3 …        segments, in the order of native.instance()
//   then       listening sockets, in the order of `listeners`
//   then       a pipe to tell the master why the application cannot start

import { writeSync } from 'node:fs'
import type { Address } from './address.ts'

const variable = 'UWSHM_WORKER'
const firstSegment = 3

export interface Handover {
  worker: number
  processes: number
  /** The master's pid. */
  master: number
  instance: string
  segments: number
  listeners: { address: Address; name: string; backlog: number }[]
  /** Absolute path of the application's module. */
  app: string
}

/** Why a worker ended before it served. */
export interface Failure {
  why: string
  /** Starting it again cannot help while the others run. */
  hopeless: boolean
}

export function toEnvironment(handover: Handover): Record<string, string> {
  return { [variable]: JSON.stringify(handover) }
}

/** Takes the variable away: a child of the application is no worker. */
export function fromEnvironment(): Handover {
  const text = process.env[variable]
  if (text === undefined) throw new Error('this module is started by the master of uwshm, not by hand')
  delete process.env[variable]
  return JSON.parse(text) as Handover
}

export function segmentPaths({ segments }: Handover): string[] {
  return Array.from({ length: segments }, (_, index) => `/proc/self/fd/${firstSegment + index}`)
}

export function listenerFd({ segments }: Handover, index: number): number {
  return firstSegment + segments + index
}

export function reportFd({ segments, listeners }: Pick<Handover, 'segments' | 'listeners'>): number {
  return firstSegment + segments + listeners.length
}

export function report(handover: Handover, failure: Failure): void {
  writeSync(reportFd(handover), JSON.stringify(failure))
}

export function readReport(text: string): Failure | null {
  try {
    return JSON.parse(text) as Failure
  } catch {
    return null // it died without a word, or in the middle of one
  }
}
