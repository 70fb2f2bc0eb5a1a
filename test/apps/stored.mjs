// Looks whether all is there that its predecessor had completed when everybody was killed, and then stores
// without end, until it is killed itself. What was completed stands in a file, which the kernel keeps:
// the number of the last call, and that of the last one before this life.

import { appendFileSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import { uwsgi } from 'uwshm'

const [place, keys] = [process.argv[2], Number(process.argv[3])]
const cache = uwsgi.cache('pages')
const worker = uwsgi.workerId()
const file = `${place}/ledger-${worker}`
const before = existsSync(file) ? readFileSync(file) : Buffer.alloc(16)
const ledger = openSync(file, 'w')
const [last, base] = [before.readDoubleLE(0), before.readDoubleLE(8)]

const keyOf = (n) => `${worker}-${n % keys}`
/** What call `n` leaves: null where it removes. */
const textOf = (n) => (n % 11 === 10 ? null : `${keyOf(n)} is ${n} `.repeat(1 + (n % 7)))

const verdict = { last, looked: 0, missing: 0, wrong: '' }
const counted = cache.num(`count-${worker}`) ?? 0
// The call under way may have happened or not: nothing is said of its key.
if (counted !== last - base && counted !== last - base + 1) verdict.wrong = `counted ${counted} of ${last - base}`
for (let n = Math.max(1, last - keys + 2); n <= last; n++) {
  const found = cache.getString(keyOf(n))
  verdict.looked++
  if (found === textOf(n)) continue
  if (found === null) verdict.missing++
  else verdict.wrong ||= `call ${n}: ${found}`
}
cache.del(`count-${worker}`)
note(last)
appendFileSync(`${place}/verdicts`, `${JSON.stringify(verdict)}\n`)
setImmediate(storm, last + 1)

export default (_, response) => response.end()

function storm(n) {
  for (const end = performance.now() + 5; performance.now() < end; n++) {
    const value = textOf(n)
    if (value === null) cache.del(keyOf(n))
    else cache.update(keyOf(n), value, n % 5 === 0 ? 3600 : 0)
    cache.inc(`count-${worker}`)
    note(n)
  }
  setImmediate(storm, n)
}

function note(n) {
  const cells = Buffer.alloc(16)
  cells.writeDoubleLE(n, 0)
  cells.writeDoubleLE(last, 8)
  writeSync(ledger, cells, 0, 16, 0)
}
