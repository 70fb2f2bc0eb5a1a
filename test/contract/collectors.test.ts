// Every collector that finds its number in others' values, over one table: what uWSGI
// makes of the same children, in whole numbers of any size. Those that look outside,
// file and func, are in test/process/metrics-master.test.ts.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CollectorName, collectors } from '../../src/metrics/collectors/index.ts'
import { parseOptions } from '../../src/options.ts'

const most = 2n ** 63n - 1n

function read(text: string, children: bigint[], before = 0n): unknown {
  const [options] = parseOptions(['--metric', `name=one,${text}`]).metric
  return collectors[options!.collector as CollectorName].open(options!).read({ children, before })
}

test('a collector makes of its children what uWSGI makes of them', () => {
  const rows: [options: string, children: bigint[], value: bigint, before?: bigint][] = [
    ['collector=sum', [50n, 7n, -60n], -3n],
    ['collector=avg', [50n, 7n], 28n],
    ['collector=avg', [-7n, 2n], -2n],
    ['collector=avg', [], 0n],
    ['collector=adder,arg1n=10', [50n, 7n], 67n],
    ['collector=adder,arg1n=-100', [50n, 7n], -43n],
    ['collector=adder', [50n, 7n], 57n],
    ['collector=multiplier,arg1n=3', [50n, 7n], 171n],
    ['collector=multiplier,arg1n=-1', [50n], -50n],
    ['collector=multiplier', [50n], 0n],
    ['collector=accumulator', [50n, 7n], 62n, 5n],
    ['collector=accumulator', [-50n], -45n, 5n],
    // Wrapped to 64 bits where it is stored, as sums of signed words are.
    ['collector=sum', [most, 1n], most + 1n],
    ['collector=multiplier,arg1n=4', [most], most * 4n],
  ]
  for (const [options, children, value, before] of rows)
    assert.equal(read(options, children, before), value, `${options} of ${children.join(' ')}`)
})

test('each says what it needs, and is content when it has it', () => {
  const needs: Record<CollectorName, [without: RegExp, enough: string, children: number[]]> = {
    file: [/arg1=PATH/, 'arg1=/proc/loadavg', []],
    func: [/arg1=\.\/module\.ts:function/, 'arg1=./load.ts:measure', []],
    sum: [/children=NAME;NAME/, '', [1]],
    avg: [/^$/, '', []],
    accumulator: [/children=NAME;NAME/, '', [1]],
    adder: [/children=NAME;NAME/, '', [1]],
    multiplier: [/children=NAME;NAME/, '', [1]],
  }
  for (const [name, { needs: missing }] of Object.entries(collectors)) {
    const [without, enough, children] = needs[name as CollectorName]
    const given = (text: string) =>
      parseOptions(['--metric', `name=one,collector=${name}${text && ','}${text}`]).metric[0]!
    assert.match(missing(given(''), []) ?? '', without, name)
    assert.equal(missing(given(enough), children), null, name)
  }
})
