// What every request of this worker writes into shared memory, store by store:
// a native call would cost more than all of it. native/cpp/accounting.hpp draws
// the rows, and says what a death between any two of these stores leaves.
//
// V8 keeps the order of stores to such memory, and x86 shows them in that order; where
// a processor does not, somebody who looks may for a moment see half of a head.

/** Why an answer did not get out: 1, the client left before its request was there; 2, before the answer was out; 0, for no fault of the client. */
export type Fault = 0 | 1 | 2

// Of the worker's row: in words of 4 bytes, and of 8.
const inFlight = 68 / 4
const overflows = 80 / 8
const tx = 96 / 8
const runningTime = 104 / 8
const averageTime = 112 / 8
// Of a core's.
const coreSize = 64
const inRequest = 0
const sequence = 4 / 4
const startedAt = 8 / 8
const requests = 16 / 8
const faults = [0, 24 / 8, 32 / 8] as const
const headSize = 40 / 4

const roomForHead = 4096
/** The rest of a longer url comes with the headers: letter by letter it would hold up those who send such. */
const longestUrl = 256

/** Memory of the worker's row, of its cores, and of their heads. */
export type Lent = readonly [row: ArrayBuffer, cores: ArrayBuffer, heads: ArrayBuffer]

/** Some lines of a head, as text, and as words to be copied. */
export class Lines {
  readonly text: string
  readonly words: Int32Array

  constructor(text: string) {
    this.text = text
    const bytes = Buffer.alloc(Math.ceil(text.length / 4) * 4)
    bytes.write(text, 'latin1')
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  }
}

export class Row {
  private readonly words: Uint32Array
  private readonly counts: Float64Array
  private readonly coreWords: Uint32Array
  private readonly coreCounts: Float64Array
  private readonly heads: Uint8Array
  private readonly headWords: Int32Array
  private readonly lastCore: number
  private readonly boot: () => number
  /** Boot time at `performance.now() === 0`, microseconds. */
  private epoch = 0

  /** `boot`: boot-time microseconds, for the start of a request is compared with the clock of other processes. */
  constructor([row, cores, heads]: Lent, boot: () => number) {
    this.words = new Uint32Array(row)
    this.counts = new Float64Array(row)
    this.coreWords = new Uint32Array(cores)
    this.coreCounts = new Float64Array(cores)
    this.heads = new Uint8Array(heads)
    this.headWords = new Int32Array(heads)
    this.lastCore = cores.byteLength / coreSize - 1
    this.boot = boot
    this.setClock()
  }

  get cores(): number {
    return this.lastCore + 1
  }

  /** From time to time: this process's own clock is quicker to ask, and stands still while the machine sleeps. */
  setClock(): void {
    this.epoch = this.boot() - performance.now() * 1000
  }

  /** A request begins on `core`, or on none (-1: all are taken). Returns its start, boot-time microseconds. */
  begin(core: number, method: string, url: string, rest: Lines): number {
    const now = this.epoch + performance.now() * 1000
    this.words[inFlight]!++
    if (core < 0) {
      this.counts[overflows]!++
      return now
    }
    const at = core * (coreSize / 4)
    this.coreWords[at + sequence]!++
    this.coreWords[at + headSize] = this.writeHead(core * roomForHead, method, url, rest)
    this.coreCounts[core * (coreSize / 8) + startedAt] = now
    this.coreWords[at + inRequest] = 1
    this.coreWords[at + sequence]!++
    return now
  }

  /** It is over, and counted. `began` as it was returned; `sent` in bytes. */
  end(core: number, began: number, sent: number, fault: Fault): void {
    const took = Math.max(0, Math.round(this.epoch + performance.now() * 1000 - began))
    this.words[inFlight]!--
    this.counts[tx]! += sent
    this.counts[runningTime]! += took
    this.counts[averageTime] = Math.floor((this.counts[averageTime]! + took) / 2)
    if (core >= 0) this.coreWords[core * (coreSize / 4) + inRequest] = 0
    const at = (core < 0 ? this.lastCore : core) * (coreSize / 8)
    if (fault !== 0) this.coreCounts[at + faults[fault]]!++
    // The last: whoever dies before it has not served the request.
    this.coreCounts[at + requests]!++
  }

  /** Bytes that were written outside any request. */
  sent(bytes: number): void {
    this.counts[tx]! += bytes
  }

  /** Method and url, filled up with NUL to whole words, then the rest. Returns its size. */
  private writeHead(start: number, method: string, url: string, rest: Lines): number {
    const { heads, headWords } = this
    let at = start
    for (let i = 0; i < method.length; i++) heads[at++] = method.charCodeAt(i)
    heads[at++] = 10
    const length = Math.min(url.length, longestUrl)
    for (let i = 0; i < length; i++) heads[at++] = url.charCodeAt(i)
    while (at % 4 !== 3) heads[at++] = 0
    heads[at++] = 10
    const { words } = rest
    for (let i = 0, word = at / 4; i < words.length; i++, word++) headWords[word] = words[i]!
    return at - start + rest.text.length
  }
}
