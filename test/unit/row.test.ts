import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import { Lines, Row } from '../../src/metrics/row.ts'

const rest = new Lines('1.1\n127.0.0.1\n50000\n127.0.0.1\n8080')

/** A row with two cores, and what others would read there; 1.5 seconds after it was booted. */
function world() {
  const lent = [new ArrayBuffer(192), new ArrayBuffer(2 * 64), new ArrayBuffer(2 * 4096)] as const
  const row = new Row(lent, () => 1_500_000)
  const [own, cores, heads] = lent.map((memory) => new DataView(memory)) as [DataView, DataView, DataView]
  const count = (view: DataView, at: number) => view.getFloat64(at, true)
  return {
    row,
    heads,
    inFlight: () => own.getUint32(68, true),
    figures: () => ({ overflows: count(own, 80), tx: count(own, 96), time: count(own, 104), average: count(own, 112) }),
    core: (core: number) => ({
      inRequest: cores.getUint32(core * 64, true),
      sequence: cores.getUint32(core * 64 + 4, true),
      startedAt: count(cores, core * 64 + 8),
      requests: count(cores, core * 64 + 16),
      readErrors: count(cores, core * 64 + 24),
      writeErrors: count(cores, core * 64 + 32),
    }),
    head: (core: number) =>
      Buffer.from(lent[2], core * 4096, cores.getUint32(core * 64 + 40, true))
        .toString('latin1')
        .replace(/\0+\n/, '\n'),
  }
}

test('a request counts once, with its bytes, its time and the fault of its client', () => {
  const { row, inFlight, figures, core } = world()
  const first = row.begin(0, 'GET', '/', rest)
  const second = row.begin(1, 'GET', '/', rest)
  assert.equal(inFlight(), 2)
  assert.equal(core(0).inRequest, 1)
  assert.equal(core(0).requests, 0)
  row.end(0, first - 1_000_000, 7, 0)
  row.end(1, second - 500_000, 3, 2)
  assert.equal(inFlight(), 0)
  assert.deepEqual([core(0).inRequest, core(0).requests, core(1).requests], [0, 1, 1])
  assert.deepEqual([core(0).writeErrors, core(1).writeErrors, core(1).readErrors], [0, 1, 0])
  row.sent(5)
  const { tx, time, average } = figures()
  assert.equal(tx, 15)
  assert.ok(time >= 1_500_000 && time < 1_600_000 && Number.isInteger(time), String(time))
  assert.ok(
    average >= 500_000 && average < 600_000 && Number.isInteger(average),
    '(0 + 1 s) / 2, then (0.5 s + 0.5 s) / 2',
  )
})

test('its start is boot time, whatever this process counts from', () => {
  const { row, core } = world()
  const began = row.begin(1, 'GET', '/', rest)
  assert.equal(core(1).startedAt, began)
  assert.ok(began >= 1_500_000 && began < 2_500_000, String(began))
})

test('a request without a core counts on the last one, and leaves its head alone', () => {
  const { row, inFlight, figures, core, head } = world()
  row.begin(1, 'PUT', '/kept', rest)
  const began = row.begin(-1, 'GET', '/lost', rest)
  assert.deepEqual([inFlight(), figures().overflows], [2, 1])
  row.end(-1, began, 0, 1)
  assert.deepEqual([core(1).requests, core(1).readErrors, core(1).inRequest], [1, 1, 1])
  assert.equal(head(1), `PUT\n/kept\n${rest.text}`)
})

test('heads hold what was sent, whatever its length and bytes, and end where their core ends', () => {
  const { row, core, head, heads } = world()
  for (const url of ['/', '/a', '/ab', '/abc', '/caf\u00e9', `/${'x'.repeat(250)}`]) {
    const before = core(0).sequence
    row.begin(0, 'OPTIONS', url, rest)
    assert.equal(head(0), `OPTIONS\n${url}\n${rest.text}`)
    assert.equal(core(0).sequence, before + 2)
  }
  row.begin(0, 'GET', `/${'x'.repeat(9000)}`, rest)
  assert.equal(head(0), `GET\n/${'x'.repeat(255)}\n${rest.text}`, 'the rest comes with the headers')
  assert.equal(heads.getUint8(4096), 0)
})
