// The collectors: the registry is the module itself.

import accumulator from './accumulator.ts'
import adder from './adder.ts'
import avg from './avg.ts'
import file from './file.ts'
import func from './func.ts'
import multiplier from './multiplier.ts'
import sum from './sum.ts'

export const collectors = { file, sum, avg, accumulator, adder, multiplier, func }
export type CollectorName = keyof typeof collectors
