// Figures of several rounds. The same place in two lists is the same round.

export function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!
}

export function low(numbers: number[]): number {
  return Math.min(...numbers)
}

export function high(numbers: number[]): number {
  return Math.max(...numbers)
}

/** Round by round: how many times as much the first is. */
export function ratios(above: number[], below: number[]): number[] {
  return above.map((nanoseconds, round) => nanoseconds / below[round]!)
}
