// A process that writes where it should not can cost data, but nobody's life:
// here the test itself writes into the mapped segment, by its descriptor.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fstatSync, readSync, writeSync } from 'node:fs'
import { afterEach, test } from 'node:test'
import { create, UwsgiError, uwsgi } from 'uwshm'
import { native } from '../../dist/native.js'

// One bucket and 16 thread slots: the offsets below follow from cache_layout.hpp.
create({
  cache2: [
    ...['none', 'lru-strict', 'bitmap'].map((kind) => ({
      name: `sealed ${kind}`,
      items: 100,
      blocksize: 64,
      checksum: true,
      ...(kind === 'bitmap' ? { bitmap: true, blocks: 200 } : { policy: kind as 'none' }),
    })),
    { name: 'victim', items: 100, blocksize: 8192, hashsize: 1 },
  ],
  maxProcesses: 4,
})
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
    .then(({ uwsgi }) => { const cache = uwsgi.cache('victim'); console.log('returned', ${call}) })
    .catch((error) => console.log('threw', error.code))`
  return spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', timeout: 5000 }).stdout
}

afterEach(() => {
  writeSync(segment, clean, 0, clean.length, 0)
  assert.equal(native.checkCache(3), null)
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

test('with checksum, what was scribbled over is a miss for every call that reads', () => {
  const { fds } = native.instance()
  for (const [index, kind] of ['none', 'lru-strict', 'bitmap'].entries()) {
    const sealed = uwsgi.cache(`sealed ${kind}`)
    const memory = Buffer.alloc(fstatSync(fds.at(index - 4)!).size)
    const damage = (value: string) => {
      readSync(fds.at(index - 4)!, memory, 0, memory.length, 0)
      const at = memory.lastIndexOf(value)
      assert.notEqual(at, -1)
      writeSync(fds.at(index - 4)!, Buffer.from('X'), 0, 1, at + 3)
    }
    const calls = {
      get: () => sealed.get('key'),
      getString: () => sealed.getString('key'),
      exists: () => sealed.exists('key') || null,
      ttl: () => sealed.ttl('key'),
      touch: () => sealed.touch('key', 5) || null,
      pop: () => sealed.pop('key'),
      getMany: () => sealed.getMany(['key'])[0],
      cas: () => sealed.cas('key', 'a value, whole', 'another') || null,
    }
    for (const [name, call] of Object.entries(calls)) {
      sealed.update('key', 'a value, whole')
      sealed.update('beside', 'another, unharmed')
      damage('a value, whole')
      assert.equal(call(), null, `${name} of ${kind}`)
      assert.equal(sealed.size, 1, `${name} of ${kind}`)
      assert.equal(sealed.getString('beside'), 'another, unharmed')
    }
    assert.equal(native.cacheFigures(index).damaged, Object.keys(calls).length)
    assert.equal(native.checkCache(index), null)
  }
})
