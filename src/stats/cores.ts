// The cores of the statistics document, as text. There may be thousands, most of
// them idle, and nearly all of the document's bytes are theirs: put together like
// this they cost a third of what objects for JSON.stringify do.

import { native } from '../native.ts'
import { type Redaction, requestVars } from './vars.ts'

/** Numbers of a core in `native.cores`. */
const columns = 6

export class CoreWriter {
  private readonly redaction: Redaction
  private readonly colon: string
  /** From a core up to a number, and on to the next. */
  private readonly pieces: string[]
  private readonly lineEnd: (depth: number) => string

  /** `indentation`: as given to JSON.stringify. */
  constructor(indentation: string, redaction: Redaction) {
    this.redaction = redaction
    this.colon = indentation ? ': ' : ':'
    this.lineEnd = (depth) => (indentation ? `\n${indentation.repeat(depth)}` : '')
    const keys = (names: string) => names.split(' ').map((name) => `${this.lineEnd(5)}"${name}"${this.colon}`)
    const zeros = keys('static_requests routed_requests offloaded_requests').map((key) => `,${key}0`)
    const [id, requests, writeErrors, readErrors, inRequest, vars, requestInfo] = keys(
      'id requests write_errors read_errors in_request vars req_info',
    )
    this.pieces = [
      `${this.lineEnd(4)}{${id}`,
      `,${requests}`,
      `${zeros.join('')},${writeErrors}`,
      `,${readErrors}`,
      `,${inRequest}`,
      `,${vars}`,
      `,${requestInfo}`,
      `${this.lineEnd(4)}}`,
    ]
  }

  /** The list of a worker's cores. */
  coresOf(worker: number): string {
    const figures = native.cores(worker)
    const [p0, p1, p2, p3, p4, p5, p6, p7] = this.pieces
    const rows: string[] = []
    for (let id = 0, at = 0; at < figures.length; id++, at += columns) {
      const requests = figures[at]
      const inRequest = figures[at + 1]
      const readErrors = figures[at + 3]
      const writeErrors = figures[at + 4]
      const vars = inRequest ? this.varsOf(worker, id) : '[]'
      const about = inRequest ? this.requestInfo(figures[at + 2]!) : '{}'
      rows.push(
        `${p0}${id}${p1}${requests}${p2}${writeErrors}${p3}${readErrors}${p4}${inRequest}${p5}${vars}${p6}${about}${p7}`,
      )
    }
    return `[${rows.join(',')}${this.lineEnd(3)}]`
  }

  private varsOf(worker: number, core: number): string {
    const head = native.coreHead(worker, core)
    if (head === null) return '[]'
    const lines = requestVars(head, this.redaction).map((one) => `${this.lineEnd(6)}${JSON.stringify(one)}`)
    return `[${lines.join(',')}${this.lineEnd(5)}]`
  }

  private requestInfo(startedAt: number): string {
    return `{${this.lineEnd(6)}"request_start"${this.colon}${startedAt}${this.lineEnd(5)}}`
  }
}
