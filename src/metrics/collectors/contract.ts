// What a collector is: one file that says what it needs and how it finds a
// number; and one line in index.ts. Its export's name is the word on the command
// line. A reading may take its time, but not the event loop's.

import type { MetricOptions } from '../../options.ts'

export interface Collector {
  /** What it lacks to do its work, or null. */
  needs(options: MetricOptions, children: readonly number[]): string | null
  open(options: MetricOptions): Reader
}

export interface Reader {
  /** The value before initial_value is added. A failure is told once, and the metric keeps its value. */
  read(now: Reading): bigint | Promise<bigint>
  close?(): void
}

export interface Reading {
  /** The values of the metric's children. */
  children: bigint[]
  /** What it found the last time. */
  before: bigint
}

export function defineCollector(collector: Collector): Collector {
  return collector
}

export function needsChildren(_: MetricOptions, children: readonly number[]): string | null {
  return children.length > 0 ? null : 'children=NAME;NAME'
}

export function sumOf(numbers: readonly bigint[]): bigint {
  return numbers.reduce((sum, number) => sum + number, 0n)
}
