// A number in a file: word arg1n (from 0) of arg1, words being what blanks, line
// ends and NULs separate. If the file begins with such, its first word is 0 and
// 1, as in uWSGI; unlike there the file may be of any size, and a word that is no
// number is told instead of read as 0.

import { constants, createReadStream } from 'node:fs'
import { defineCollector } from './contract.ts'

/** No number is longer. */
const longestWord = 400
const separators = ' \t\r\n\0'

export default defineCollector({
  needs: ({ arg1, arg1n }) => (arg1 === '' ? 'arg1=PATH' : arg1n < 0n ? 'arg1n=N, from 0' : null),

  open: ({ arg1: path, arg1n, scale }) => ({
    async read() {
      const word = await wordOf(path, Number(arg1n))
      if (word === null) throw new Error(`${path} has no word ${arg1n}`)
      const [number] = /^[-+]?\d+/.exec(word) ?? []
      const fraction = Number.parseFloat(word) * scale
      if (scale !== 0 ? !Number.isFinite(fraction) : number === undefined)
        throw new Error(`word ${arg1n} of ${path} is no number: ${JSON.stringify(word)}`)
      return within64Bits(scale !== 0 ? BigInt(Math.round(fraction)) : BigInt(number!.replace('+', '')))
    },
  }),
})

/** What is beyond them is the most, or the least, that they hold; wrapped it would have the other sign. */
function within64Bits(number: bigint): bigint {
  const wrapped = BigInt.asIntN(64, number)
  return wrapped === number ? number : number < 0n ? -(2n ** 63n) : 2n ** 63n - 1n
}

async function wordOf(path: string, wanted: number): Promise<string | null> {
  // Opening a pipe that nobody writes to must not wait.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK
  let word = ''
  let index = -1
  let isBetween = true
  let isStart = true
  for await (const text of createReadStream(path, { flags: flags as unknown as string, encoding: 'latin1' })) {
    for (const letter of text as string) {
      if (separators.includes(letter)) {
        if (!isBetween && isWanted(index, wanted)) return word
        if (isStart) index = 0
        isBetween = true
      } else {
        if (isBetween) [index, word] = [index + 1, '']
        isBetween = false
        if (word.length < longestWord) word += letter
      }
      isStart = false
    }
  }
  return !isBetween && isWanted(index, wanted) ? word : null
}

/** In a file that begins with a blank, words are counted from 1, and 0 is the first too. */
function isWanted(index: number, wanted: number): boolean {
  return index === wanted || (index === 1 && wanted === 0)
}
