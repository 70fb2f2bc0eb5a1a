// The document as bytes, for all clients the same. It is made at most ten times a
// second and kept ten times as long as it took to make, so that no number of
// clients takes more of the master than a tenth.
//
// The bytes of a document that nobody holds any more are written over by the next:
// the garbage collector would leave dozens of them about.

import { log } from '../log.ts'
import type { Crowd } from './crowd.ts'
import type { Statistics } from './snapshot.ts'

const keptMs = 100
const keptFor = 10

export class Press {
  private readonly statistics: Statistics
  private readonly crowd: Crowd
  private latest: { document: Buffer | null; until: number } = { document: null, until: 0 }
  /** What the documents stand on: the latest, and those that are held. */
  private sheets: Buffer[] = []

  constructor(statistics: Statistics, crowd: Crowd) {
    this.statistics = statistics
    this.crowd = crowd
  }

  /** Null when it cannot be made: the client asks again, and the master does not end of it. */
  document(): Buffer | null {
    const begun = performance.now()
    if (begun < this.latest.until) return this.latest.document
    let document: Buffer | null = null
    try {
      document = this.print(inAscii(this.statistics.text()))
    } catch (error) {
      log(`uwshm: no statistics: ${(error as Error).message}`)
    }
    const now = performance.now()
    this.latest = { document, until: now + Math.max(keptMs, keptFor * (now - begun)) }
    return document
  }

  private print(text: string): Buffer {
    const size = text.length
    const held = this.crowd.makeRoom(size)
    const free = this.sheets.filter(({ buffer }) => !held.has(buffer))
    const sheet = free.find(({ length }) => length >= size) ?? Buffer.allocUnsafeSlow(size + (size >> 3))
    this.sheets = [sheet, ...this.sheets.filter(({ buffer }) => held.has(buffer))]
    return sheet.subarray(0, sheet.write(text, 'latin1'))
  }
}

/** uwsgicachetop decodes what it reads piece by piece, and ends at a character that a piece's end cuts in two. */
function inAscii(json: string): string {
  if (Buffer.byteLength(json) === json.length) return json
  return json.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
