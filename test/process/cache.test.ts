// The cache as applications call it: one real instance, this process its master.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { create, UwsgiError, uwsgi } from 'uwshm'
import { native } from '../../dist/native.js'

create({
  cache2: [
    { name: 'pages', items: 1000 },
    { name: 'tiny', items: 3, blocksize: 16, keysize: 8 },
    { name: 'huge', items: 1, blocksize: 2 ** 28 },
    { name: 'from ten', items: 10, math_initial: 10n },
    { name: 'ordered', items: 10, hash: 'djb33x', hashsize: 65536 },
    { name: 'chosen', items: 5000, blocksize: 8, hash: 'murmur2', lastmod: true },
    { name: 'runs', items: 50, blocksize: 100, blocks: 200, bitmap: true },
  ],
})
const pages = uwsgi.cache('pages')
const tiny = uwsgi.cache('tiny')

const code = (name: string) => (error: unknown) => error instanceof UwsgiError && error.code === name

test('a value comes back as it went in, as bytes and as text', () => {
  for (const value of [
    'plain',
    '',
    'grün',
    '日本語',
    'a\0b',
    'é'.repeat(3000),
    'x'.repeat(65536),
    '\u{1f600}'.repeat(200),
  ]) {
    assert.equal(pages.update('key', value), true)
    assert.equal(pages.getString('key'), value)
    assert.deepEqual(pages.get('key'), Buffer.from(value))
  }
  for (const size of [0, 1, 7, 8, 9, 4095, 4096, 4097, 16384, 65536]) {
    const bytes = Buffer.from(Array.from({ length: size }, (_, i) => (i * 37) & 255))
    assert.equal(pages.update(new Uint8Array([1, 2, 255]), bytes), true)
    assert.deepEqual(pages.get(Buffer.from([1, 2, 255])), bytes)
  }
})

test('a text key and its UTF-8 bytes are the same key, whatever its length', () => {
  for (const key of [
    'k',
    'sixteen bytes ok',
    'seventeen bytes -',
    'ключ',
    'x'.repeat(64),
    'x'.repeat(65),
    'ö'.repeat(1024),
  ]) {
    assert.equal(pages.update(key, `value of ${key}`), true)
    assert.equal(pages.getString(Buffer.from(key)), `value of ${key}`)
    assert.equal(pages.del(Buffer.from(key)), true)
    assert.equal(pages.getString(key), null)
  }
})

test('Buffers handed out stay as they are, however many of whatever size follow', () => {
  const sizes = [0, 1, 7, 300, 511, 512, 513, 1024, 5000, 16384, 16385, 40000]
  const kept = []
  for (let i = 0; i < 1000; i++) {
    const value = Buffer.alloc(sizes[(i * 7) % sizes.length]!, i)
    pages.update('slab', value)
    kept.push({ value, got: i % 3 === 2 ? pages.pop('slab')! : pages.get('slab')! })
  }
  for (const { value, got } of kept) assert.ok(value.equals(got), `${value.length} bytes`)
})

test('a value that becomes a small one while memory is made for a large one is that small one', (t) => {
  const { allocUnsafeSlow } = Buffer
  t.after(() => Object.assign(Buffer, { allocUnsafeSlow }))
  pages.update('shrinks', 'x'.repeat(50_000))
  Buffer.allocUnsafeSlow = (size) => {
    pages.update('shrinks', 'small now')
    return allocUnsafeSlow(size)
  }
  assert.equal(String(pages.get('shrinks')), 'small now')
  pages.update('next', 'another')
  assert.deepEqual([String(pages.get('next')), String(pages.get('shrinks'))], ['another', 'small now'])
})

test('getInto copies to the beginning of an array, or nothing at all', () => {
  const target = Buffer.alloc(12, '-')
  pages.update('into', 'éight b')
  const { hits, miss } = native.cacheFigures(0)
  assert.equal(pages.getInto('into', target), 8)
  assert.equal(target.toString(), 'éight b----')
  assert.equal(pages.getInto('into', target.subarray(9)), 8, 'three bytes are not enough')
  assert.equal(pages.getInto('into', target.subarray(4)), 8)
  assert.equal(target.toString(), 'éigéight b')
  assert.equal(pages.getInto('nothing there', target), null)
  assert.equal(pages.getInto('', target), null)
  const after = native.cacheFigures(0)
  assert.deepEqual([after.hits - hits, after.miss - miss], [3, 1])
  for (const wrong of [undefined, 'text', new ArrayBuffer(8), new Uint16Array(8)])
    assert.throws(() => pages.getInto('into', wrong as unknown as Uint8Array), {
      name: 'TypeError',
      message: 'the target of getInto is a Uint8Array',
    })
})

test('set adds and update replaces; the reason of a refusal can be had', () => {
  assert.equal(pages.set('twice', 'first'), true)
  assert.equal(pages.refusal, null)
  assert.equal(pages.set('twice', 'second'), false)
  assert.equal(pages.refusal, 'EXISTS')
  assert.equal(pages.getString('twice'), 'first')
  assert.equal(pages.update('twice', 'second'), true)
  assert.equal(pages.getString('twice'), 'second')
})

test('what does not fit is refused with its reason, and nothing changes', () => {
  tiny.clear()
  assert.equal(tiny.set('', 'v'), false)
  assert.equal(tiny.refusal, 'KEY_EMPTY')
  assert.equal(tiny.set('ninebytes', 'v'), false)
  assert.equal(tiny.refusal, 'KEY_TOO_LONG')
  assert.equal(tiny.set('ééééé', 'v'), false, 'ten bytes in five characters')
  assert.equal(tiny.refusal, 'KEY_TOO_LONG')
  assert.equal(tiny.set('eight888', 'sixteen bytes ok'), true)
  assert.equal(tiny.update('eight888', 'seventeen bytes -'), false)
  assert.equal(tiny.refusal, 'VALUE_TOO_LARGE')
  assert.equal(tiny.update('eight888', 'ééééééééé'), false, 'eighteen bytes in nine characters')
  assert.equal(tiny.refusal, 'VALUE_TOO_LARGE')
  assert.equal(tiny.getString('eight888'), 'sixteen bytes ok')
  assert.equal(tiny.getString(''), null)
  assert.equal(tiny.get('ninebytes'), null)
  assert.equal(tiny.exists('ninebytes'), false)
})

test('where values may be large the first one may be bytes', () => {
  const program = `
    import { create, uwsgi } from 'uwshm'
    create({ cache2: ['name=huge,items=1,blocksize=16m'] })
    console.log(uwsgi.cache().update('k', Buffer.from('bytes')), String(uwsgi.cache().get('k')))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(stdout, 'true bytes\n', stderr)
})

test('room is made for the text that is stored, not for the largest that could be', () => {
  const mapped = () => Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024
  const huge = uwsgi.cache('huge')
  const before = mapped()
  for (const value of ['', 'short', 'größer', 'x'.repeat(2 ** 21), 'ü'.repeat(2 ** 20)]) {
    assert.equal(huge.update('k', value), true)
    assert.equal(huge.getString('k'), value)
  }
  assert.ok(mapped() - before < 256, `${mapped() - before} MiB more`)
  for (const value of ['x'.repeat(2 ** 28 + 1), 'ü'.repeat(2 ** 27 + 1)]) {
    assert.equal(huge.update('k', value), false)
    assert.equal(huge.refusal, 'VALUE_TOO_LARGE')
  }
})

test('items=3 holds three, and a fourth is refused until there is room', () => {
  tiny.clear()
  for (const key of ['a', 'b', 'c']) assert.equal(tiny.set(key, key), true)
  assert.equal(tiny.set('d', 'd'), false)
  assert.equal(tiny.refusal, 'FULL')
  assert.equal(tiny.update('a', 'A'), true, 'replacing needs no room')
  assert.equal(tiny.del('b'), true)
  assert.equal(tiny.set('d', 'd'), true)
  assert.equal(tiny.size, 3)
  assert.deepEqual(tiny.keys().sort(), ['a', 'c', 'd'])
})

test('a strict handle throws the reason', () => {
  assert.equal(
    uwsgi.cache('tiny', { strict: true }),
    uwsgi.cache('tiny', { strict: true }),
    'asked for at each request',
  )
  const strict = uwsgi.cache('tiny', { strict: true })
  strict.clear()
  strict.set('text', 'abc')
  assert.throws(() => strict.set('text', 'abc'), code('EXISTS'))
  assert.throws(() => strict.set('ninebytes', 'v'), code('KEY_TOO_LONG'))
  assert.throws(() => strict.update('text', 'x'.repeat(17)), code('VALUE_TOO_LARGE'))
  assert.throws(() => strict.inc('text'), code('NOT_A_NUMBER'))
  strict.set('b', 'b')
  strict.set('c', 'c')
  assert.throws(() => strict.set('d', 'd'), code('FULL'))
  assert.throws(() => strict.inc('e'), code('FULL'))
})

test('an item is gone at the moment it expires, makes room, and does not block a set', async () => {
  tiny.clear()
  assert.equal(tiny.set('short', 'v', 0.05), true)
  assert.ok(tiny.ttl('short')! > 0 && tiny.ttl('short')! <= 0.05)
  assert.equal(tiny.set('short', 'w'), false)
  tiny.set('b', 'b')
  tiny.set('c', 'c')
  assert.equal(tiny.ttl('b'), Infinity)
  while (tiny.exists('short')) await new Promise(setImmediate)
  assert.equal(tiny.getString('short'), null)
  assert.equal(tiny.ttl('short'), null)
  assert.equal(tiny.set('d', 'd'), true, 'room is made on the spot')
  assert.equal(tiny.del('short'), false)
})

test('a time to live of centuries is for ever', () => {
  for (const seconds of [1e300, Infinity]) {
    tiny.clear()
    assert.equal(tiny.set('long', 'v', seconds), true)
    assert.equal(tiny.ttl('long'), Infinity)
  }
})

test('counters are 64 bits wide: numbers in, numbers out; bigints in, bigints out', () => {
  assert.equal(pages.inc('n'), 1)
  assert.equal(pages.inc('n', 41), 42)
  assert.equal(pages.dec('n', 2), 40)
  assert.equal(pages.num('n'), 40)
  assert.equal(pages.bigNum('n'), 40n)
  assert.equal(pages.inc('n', 2n ** 62n), 2n ** 62n + 40n)
  assert.equal(pages.inc('n', 2n ** 62n - 41n), 2n ** 63n - 1n)
  assert.equal(pages.inc('n', 1n), -(2n ** 63n), 'it wraps')
  assert.equal(pages.dec('n', 1n), 2n ** 63n - 1n)
  assert.equal(pages.num('absent'), null)
  assert.deepEqual(pages.get('n'), Buffer.from('ffffffffffffff7f', 'hex'), 'as uWSGI stores it')
})

test('counters multiply and divide; what has no result is refused and changes nothing', () => {
  pages.update('n', Buffer.from([7, 0, 0, 0, 0, 0, 0, 0]))
  assert.equal(pages.mul('n', -6), -42)
  assert.equal(pages.mul('n'), -84, 'by two')
  assert.equal(pages.div('n'), -42)
  assert.equal(pages.div('n', 5), -8, 'towards zero')
  assert.equal(pages.div('n', -3n), 2n)
  assert.equal(pages.div('n', 0), null)
  assert.equal(pages.refusal, 'DIVISION')
  assert.equal(pages.num('n'), 2)
  assert.equal(pages.mul('n', 2n ** 62n), -(2n ** 63n), 'it wraps')
  assert.equal(pages.div('n', -1), null, 'this kills uWSGI')
  assert.equal(pages.bigNum('n'), -(2n ** 63n))
  assert.throws(() => uwsgi.cache('pages', { strict: true }).div('n', 0), code('DIVISION'))
  pages.update('text', 'eight888')
  assert.equal(pages.mul('text', 3), null)
  assert.equal(pages.refusal, 'NOT_A_NUMBER')
  assert.equal(pages.getString('text'), 'eight888')
})

test('a counter begins with math_initial', () => {
  const ten = uwsgi.cache('from ten')
  assert.deepEqual([ten.inc('inc', 5), ten.dec('dec'), ten.mul('mul', 3), ten.div('div')], [15, 9, 30, 5])
  assert.equal(ten.div('nothing', 0), null)
  assert.equal(ten.exists('nothing'), false)
})

test('cas stores only where the value is the expected one, or where none is expected', () => {
  pages.del('cas')
  assert.equal(pages.cas('cas', 'old', 'new'), false)
  assert.equal(pages.refusal, 'ABSENT')
  assert.equal(pages.cas('cas', null, 'one', 60), true)
  assert.equal(pages.cas('cas', null, 'two'), false)
  assert.equal(pages.refusal, 'EXISTS')
  assert.equal(pages.cas('cas', 'two', 'three'), false)
  assert.equal(pages.refusal, 'CHANGED')
  assert.equal(pages.cas('cas', 'x'.repeat(70000), 'three'), false)
  assert.equal(pages.refusal, 'CHANGED', 'larger than any value here')
  assert.ok(pages.ttl('cas')! <= 60, 'a refusal changes nothing')
  assert.equal(pages.cas('cas', Buffer.from('one'), 'größer'), true, 'bytes and text are told by their bytes')
  assert.equal(pages.ttl('cas'), Infinity)
  assert.equal(pages.cas('cas', 'größer', Buffer.from([1, 2])), true)
  assert.deepEqual(pages.get('cas'), Buffer.from([1, 2]))
  const strict = uwsgi.cache('pages', { strict: true })
  assert.equal(strict.cas('cas', 'another', 'x'), false, 'an answer, not an error')
  assert.throws(() => strict.cas('cas', Buffer.from([1, 2]), 'x'.repeat(65537)), code('VALUE_TOO_LARGE'))
})

test('touch gives another time to live and leaves the value', () => {
  pages.update('touched', 'v', 60)
  assert.equal(pages.touch('touched', 600), true)
  assert.ok(pages.ttl('touched')! > 60)
  assert.equal(pages.touch('touched', 0), true)
  assert.equal(pages.ttl('touched'), Infinity)
  assert.equal(pages.getString('touched'), 'v')
  assert.equal(pages.touch('absent', 1), false)
  assert.equal(pages.refusal, 'ABSENT')
})

test('pop gives a value of any size once', () => {
  for (const size of [0, 1, 100, 4096, 5000, 16384, 65536]) {
    for (let i = 0; i < 20; i++) pages.update(`pop ${i}`, Buffer.alloc(size, i))
    const popped = Array.from({ length: 20 }, (_, i) => pages.pop(`pop ${i}`)!)
    for (const [i, value] of popped.entries()) assert.deepEqual(value, Buffer.alloc(size, i))
    assert.equal(pages.pop('pop 3'), null)
  }
})

test('getOrSet gives the value there is, or stores one; getMany many', () => {
  pages.del('either')
  assert.equal(pages.getOrSet('either', 'first', 60), 'first')
  assert.equal(pages.getOrSet('either', 'second', 60), 'first')
  assert.deepEqual(pages.getOrSet('either', Buffer.from('third')), Buffer.from('first'))
  assert.ok(pages.ttl('either')! <= 60)
  assert.equal(tiny.getOrSet('key', 'x'.repeat(17)), null)
  assert.equal(tiny.refusal, 'VALUE_TOO_LARGE')
  assert.throws(() => uwsgi.cache('tiny', { strict: true }).getOrSet('key', 'x'.repeat(17)), code('VALUE_TOO_LARGE'))
  assert.deepEqual(pages.getMany(['either', 'neither', Buffer.from('either')]), [
    Buffer.from('first'),
    null,
    Buffer.from('first'),
  ])
  assert.deepEqual(['either', 'neither'].map(pages.getString), ['first', null])
})

test('scan goes over the keys with a prefix, delPrefix removes them', () => {
  pages.clear()
  const keys = Array.from({ length: 700 }, (_, i) => `${i % 7}:${i}`)
  for (const key of keys) pages.set(key, 'v')
  pages.set(Buffer.from([0x33, 0x3a, 0xff]), 'no text')
  const found = []
  for (const key of pages.scan()) {
    found.push(key)
    pages.update('0:0', `${found.length}`) // the walk does not mind
  }
  assert.deepEqual(found.sort(), [...keys, '3:\ufffd'].sort())
  const threes = keys.filter((key) => key.startsWith('3:'))
  assert.deepEqual([...pages.scan({ prefix: '3:' })].sort(), [...threes, '3:\ufffd'].sort())
  assert.equal([...pages.scan({ prefix: Buffer.from([0x33, 0x3a, 0xff]), as: 'buffer' })].length, 1)
  assert.deepEqual([...pages.scan({ prefix: 'x'.repeat(3000) })], [])
  assert.equal(pages.delPrefix('3:'), 101)
  assert.equal(pages.delPrefix('3:'), 0)
  assert.equal(pages.size, 600)
  assert.equal(pages.delPrefix(''), 600)
})

test("djb33x gives uWSGI's order of keys", () => {
  const ordered = uwsgi.cache('ordered')
  for (const key of ['a', 'b', 'c']) ordered.set(key, 'v')
  assert.deepEqual(ordered.keys(), ['a', 'c', 'b'])
})

test('by default no two starts have the keys in one order', () => {
  const keys = Array.from({ length: 50 }, (_, i) => `key ${i}`)
  const ordered = () => {
    pages.clear()
    for (const key of keys) pages.set(key, 'v')
    return pages.keys()
  }
  const program = `
    import { create, uwsgi } from 'uwshm'
    create({ cache2: ['name=pages,items=1000'] })
    for (const key of ${JSON.stringify(keys)}) uwsgi.cacheSet(key, 'v')
    console.log(JSON.stringify(uwsgi.cacheKeys()))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  const [here, there] = [ordered(), JSON.parse(stdout || assert.fail(stderr)) as string[]]
  assert.deepEqual(here, ordered(), 'within one start it stays')
  assert.notDeepEqual(there, here)
  assert.deepEqual(there.sort(), here.sort())
})

test('with a hash whose chains can be chosen, a chain takes so much and no more', () => {
  const chosen = uwsgi.cache('chosen')
  // murmur2 overlooks the last two of six bytes.
  const keys = Array.from({ length: 1100 }, (_, i) => `keys${String.fromCharCode(48 + (i % 70), 48 + i / 70)}`)
  const stored = keys.filter((key) => chosen.set(key, 'v'))
  assert.equal(stored.length, 1024)
  assert.equal(chosen.refusal, 'CROWDED')
  assert.throws(() => uwsgi.cache('chosen', { strict: true }).set('keys~~', 'v'), code('CROWDED'))
  assert.equal(chosen.set('another', 'v'), true)
  const figures = native.cacheFigures(5)
  assert.equal(figures.hash, 'murmur2')
  assert.equal(figures.longestChain, 1024)
  assert.equal(figures.refused.CROWDED, 77)
})

test('the time of the last change is one second, whenever it is asked for', async () => {
  const chosen = uwsgi.cache('chosen')
  chosen.update('changed', 'now')
  const told = new Set<number>()
  for (const until = Date.now() + 1050; Date.now() < until; await setTimeout(10))
    told.add(native.cacheFigures(5).lastModifiedAt)
  assert.equal(told.size, 1)
  assert.ok(Math.abs([...told][0]! - Date.now() / 1000) < 3)
})

test('figures tell refusals by reason, expired items, memory, and the last change where it is wanted', () => {
  const chosen = uwsgi.cache('chosen')
  chosen.clear()
  const before = native.cacheFigures(5)
  const now = Date.now() / 1000
  assert.ok(Math.abs(before.lastModifiedAt - now) < 3, `${before.lastModifiedAt} at ${now}`)
  assert.equal(native.cacheFigures(0).lastModifiedAt, 0)
  assert.ok(before.bytes > 4096 && before.bytes < 2 ** 24)
  chosen.set('a', 'text')
  for (const refused of [
    () => chosen.set('a', 'b'),
    () => chosen.cas('a', 'b', 'c'),
    () => chosen.cas('b', 'b', 'c'),
    () => chosen.set('', 'b'),
    () => chosen.update('x'.repeat(2049), 'b'),
    () => chosen.update('a', 'nine byte'),
    () => chosen.inc('a'),
    () => chosen.div('c', 0),
  ])
    assert.ok(!refused())
  assert.deepEqual(native.cacheFigures(5).refused, {
    ...before.refused,
    EXISTS: 1,
    CHANGED: 1,
    ABSENT: 1,
    KEY_EMPTY: 1,
    KEY_TOO_LONG: 1,
    VALUE_TOO_LARGE: 1,
    NOT_A_NUMBER: 1,
    DIVISION: 1,
  })
})

test('text is no counter, eight bytes are', () => {
  pages.update('text', '12')
  assert.equal(pages.inc('text'), null)
  assert.equal(pages.refusal, 'NOT_A_NUMBER')
  pages.update('text', 'eight888')
  assert.equal(pages.inc('text'), null)
  assert.equal(pages.num('text'), null)
  assert.equal(pages.getString('text'), 'eight888')
  pages.update('bytes', Buffer.from([5, 0, 0, 0, 0, 0, 0, 0]))
  assert.equal(pages.inc('bytes'), 6)
  // 0x85 is no ASCII, though every byte was before: it is no text either.
  assert.equal(pages.inc('bytes', 127), 0x85)
  assert.equal(pages.getString('bytes'), String(pages.get('bytes')))
})

test('a counter lives as long as its first call said', () => {
  pages.del('limit')
  pages.inc('limit', 1, 60)
  pages.inc('limit', 1, 6000)
  assert.ok(pages.ttl('limit')! <= 60)
})

test("uWSGI's names take uWSGI's arguments; a cache left out is the first", () => {
  uwsgi.cacheClear()
  assert.equal(uwsgi.cacheSet('k', 'v'), true)
  assert.equal(uwsgi.cacheSet('k', 'w', 60), false)
  assert.deepEqual(uwsgi.cacheGet('k'), Buffer.from('v'))
  assert.deepEqual(uwsgi.cacheGet('k', ''), Buffer.from('v'))
  assert.equal(uwsgi.cacheGet('k', 'tiny'), null)
  assert.equal(uwsgi.cacheUpdate('k', 'w', 60, 'pages'), true)
  assert.equal(uwsgi.cacheExists('k'), true)
  assert.equal(uwsgi.cacheInc('c', 5), 5)
  assert.equal(uwsgi.cacheDec('c', 2, 0, 'pages'), 3)
  assert.equal(uwsgi.cacheInc('c', 1n), 4n)
  assert.equal(uwsgi.cacheNum('c'), 4)
  assert.equal(uwsgi.cacheMul('c'), 8)
  assert.equal(uwsgi.cacheMul('c', 3n, 0, 'pages'), 24n)
  assert.equal(uwsgi.cacheDiv('c'), 12)
  assert.equal(uwsgi.cacheDiv('c', -3, 0, 'pages'), -4)
  assert.equal(uwsgi.cacheNum('c'), -4)
  assert.deepEqual(uwsgi.cacheKeys().sort(), ['c', 'k'])
  assert.deepEqual(uwsgi.cache().keys('buffer').map(String).sort(), ['c', 'k'])
  assert.equal(uwsgi.cacheDel('k'), true)
  assert.equal(uwsgi.cacheDel('k'), false)
  assert.equal(uwsgi.cacheClear('pages'), true)
  assert.deepEqual(uwsgi.cacheKeys(), [])
})

test('an unknown cache is named, with those there are', () => {
  assert.throws(() => uwsgi.cacheGet('k', 'pagse'), {
    name: 'UwsgiError',
    code: 'UNKNOWN_CACHE',
    message: 'no cache named pagse; known: pages, tiny, huge, from ten, ordered, chosen, runs',
  })
})

test('wrong arguments are told in a sentence', () => {
  const wrong = pages as unknown as Record<string, (...args: unknown[]) => unknown>
  for (const name of 'getString getInto get set update del exists inc mul div num ttl pop touch cas getOrSet'.split(
    ' ',
  ))
    for (const key of [undefined, null, 7, {}, Symbol('s'), new Uint16Array(2)])
      assert.throws(
        () => wrong[name]!(key, ['inc', 'mul', 'div', 'touch'].includes(name) ? 1 : 'v', 'v'),
        { message: 'a cache key is a string or a Uint8Array' },
        name,
      )
  for (const value of [undefined, null, 7, {}, new Float64Array(1)])
    assert.throws(() => wrong.set!('wrong', value), { message: 'a cache value is a string or a Uint8Array' })
  assert.throws(() => wrong.set!('wrong'), TypeError)
  for (const value of [undefined, 7, {}])
    assert.throws(() => wrong.cas!('wrong', value, 'v'), { message: 'a cache value is a string or a Uint8Array' })
  assert.throws(() => wrong.delPrefix!(7), { message: 'a prefix of keys is a string or a Uint8Array' })
  assert.throws(() => [...(wrong.scan!({ prefix: 7 }) as Iterable<string>)], TypeError)
  for (const seconds of [-1, NaN]) assert.throws(() => wrong.set!('wrong', 'v', seconds), RangeError)
  for (const seconds of [-1, NaN]) assert.throws(() => wrong.touch!('wrong', seconds), RangeError)
  for (const seconds of ['60', null, {}]) assert.throws(() => wrong.set!('wrong', 'v', seconds), TypeError)
  for (const n of [1.5, NaN, Infinity, 2 ** 53]) assert.throws(() => wrong.inc!('wrong', n), RangeError)
  assert.throws(() => wrong.inc!('wrong', 2n ** 63n), RangeError)
  assert.throws(() => wrong.inc!('wrong', '1'), TypeError)
  for (const cache of [null, 7] as unknown as string[])
    assert.throws(() => uwsgi.cacheGet('k', cache), {
      name: 'TypeError',
      message: 'a cache is named by a string; left out, it is the first one',
    })
  assert.equal(pages.exists('wrong'), false, 'nothing is half done')
})

test('one process is attached once', () => {
  assert.throws(() => create(), code('ALREADY_ATTACHED'))
})

test('in bitmap mode a value takes as many blocks as it needs, up to all of them', () => {
  const runs = uwsgi.cache('runs')
  const figures = () => {
    const { blocks, blocksTaken, bitmap, moves } = native.cacheFigures(6)
    return { blocks, blocksTaken, bitmap, moves }
  }
  for (const value of ['', 'short', 'x'.repeat(101), 'é'.repeat(4000)]) {
    assert.equal(runs.update('key', value), true)
    assert.equal(runs.getString('key'), value)
    assert.deepEqual(runs.get('key'), Buffer.from(value))
  }
  assert.deepEqual(figures(), { blocks: 200, blocksTaken: 80, bitmap: true, moves: 0 })
  assert.equal(runs.pop('key')?.toString(), 'é'.repeat(4000))
  assert.equal(runs.set('all', Buffer.alloc(20_000, 'y')), true)
  assert.equal(runs.set('all', Buffer.alloc(20_001, 'y')), false)
  assert.equal(runs.refusal, 'VALUE_TOO_LARGE')
  assert.throws(() => uwsgi.cache('runs', { strict: true }).update('all', Buffer.alloc(20_001)), {
    message: 'cache runs: the value is larger than it may be; raise blocksize, or blocks with bitmap=1',
  })
  assert.equal(runs.update('all', 'z', 60), false)
  assert.equal(runs.refusal, 'FULL')
  assert.deepEqual([runs.getString('all'), runs.ttl('all')], ['y'.repeat(20_000), Infinity])
  assert.equal(runs.del('all'), true)

  for (let n = 0; n < 50; n++) runs.set(`item ${n}`, 'i'.repeat(400))
  for (let n = 0; n < 50; n += 2) runs.del(`item ${n}`)
  assert.equal(runs.set('joined', 'j'.repeat(7000)), true)
  for (let n = 1; n < 50; n += 2) assert.equal(runs.getString(`item ${n}`), 'i'.repeat(400))
  assert.deepEqual([figures().blocksTaken, figures().moves > 0], [170, true])
})
