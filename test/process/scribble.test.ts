// A process that writes where it should not can cost data, but nobody's life:
// here the test itself writes into the mapped segment, by its descriptor.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fstatSync, readSync, writeSync } from 'node:fs'
import { afterEach, test } from 'node:test'
import { create, UwsgiError, uwsgi } from 'uwshm'
import { native } from '../../dist/native.js'

// One bucket and 16 thread slots: the offsets below follow from cache_layout.hpp.
create({ cache2: [{ name: 'victim', items: 100, blocksize: 8192, hashsize: 1 }], maxProcesses: 4 })
const cache = uwsgi.cache('victim')
const segment = native.instance().fds.at(-1)!
const bucket = 8192
const poolHead = 384
const linkOf = (slot: number) => 12288 + slot * 64
const clean = Buffer.alloc(fstatSync(segment).size)
readSync(segment, clean, 0, clean.length, 0)

const isCorrupt = (error: unknown) => error instanceof UwsgiError && error.code === 'CACHE_CORRUPT'

function wordAt(offset: number): number {
  const word = Buffer.alloc(4)
  readSync(segment, word, 0, 4, offset)
  return word.readUInt32LE()
}

function scribble(offset: number, word: number): void {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(word)
  writeSync(segment, bytes, 0, 4, offset)
}

/** Runs `call` on the same cache in another process, which has five seconds. */
function elsewhere(call: string): string {
  const program = `import(${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)})
    .then(({ uwsgi }) => { const cache = uwsgi.cache(); console.log('returned', ${call}) })
    .catch((error) => console.log('threw', error.code))`
  return spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', timeout: 5000 }).stdout
}

afterEach(() => {
  writeSync(segment, clean, 0, clean.length, 0)
  assert.equal(native.checkCache(0), null)
})

test('a get that fails halfway leaves the next one its own bytes', (t) => {
  cache.set('small', 'as it was stored')
  cache.set('large', 'x'.repeat(8192))
  const before = wordAt(bucket)
  assert.notEqual(before, 0, 'the layout has changed: the offsets above must follow')
  const { allocUnsafeSlow } = Buffer as { allocUnsafeSlow(size: number): Buffer<ArrayBuffer> }
  t.after(() => Object.assign(Buffer, { allocUnsafeSlow }))
  assert.equal(String(cache.get('small')), 'as it was stored')

  // A large value is looked up twice, with memory made for it in between.
  let first: Buffer<ArrayBuffer> | undefined
  Buffer.allocUnsafeSlow = (size) => {
    scribble(bucket, 0xffffffff)
    const made = allocUnsafeSlow(size)
    first = made
    return made
  }
  assert.throws(() => {
    for (;;) cache.get('large')
  }, isCorrupt)
  Object.assign(Buffer, { allocUnsafeSlow })
  scribble(bucket, before)

  first!.fill('-')
  assert.equal(String(cache.get('small')), 'as it was stored')
  assert.ok(first!.every((byte) => byte === 45))
})

test('links bent to circles end every call all the same', () => {
  const calls =
    'cache.clear() cache.keys().length cache.getString("b") cache.set("b","") cache.inc("b") cache.pop("b") ' +
    'cache.cas("b","","") cache.touch("b",1) cache.delPrefix("b") [...cache.scan()].length'
  for (const call of calls.split(' ')) {
    cache.set('a', 'alone in its chain')
    const slot = wordAt(bucket)
    assert.notEqual(slot, 0)
    scribble(linkOf(slot), slot)
    scribble(poolHead, slot)
    assert.match(elsewhere(call), /^(returned|threw CACHE_CORRUPT)/, call)
    writeSync(segment, clean, 0, clean.length, 0)
  }
})
