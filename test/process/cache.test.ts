// The cache as applications call it: one real instance, this process its master.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { create, UwsgiError, uwsgi } from 'uwshm'

create({
  cache2: [
    { name: 'pages', items: 1000 },
    { name: 'tiny', items: 3, blocksize: 16, keysize: 8 },
    { name: 'huge', items: 1, blocksize: 2 ** 28 },
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

test('Buffers handed out stay as they are, however many follow', () => {
  const kept = []
  for (let i = 0; i < 2000; i++) {
    pages.update('slab', `value ${i} ${'.'.repeat(i % 300)}`)
    kept.push(pages.get('slab')!)
  }
  for (const [i, buffer] of kept.entries()) assert.equal(buffer.toString(), `value ${i} ${'.'.repeat(i % 300)}`)
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
    message: 'no cache named pagse; known: pages, tiny, huge',
  })
})

test('wrong arguments are told in a sentence', () => {
  const wrong = pages as unknown as Record<string, (...args: unknown[]) => unknown>
  for (const name of ['getString', 'get', 'set', 'update', 'del', 'exists', 'inc', 'num', 'ttl'])
    for (const key of [undefined, null, 7, {}, Symbol('s'), new Uint16Array(2)])
      assert.throws(
        () => wrong[name]!(key, name === 'inc' ? 1 : 'v'),
        { message: 'a cache key is a string or a Uint8Array' },
        name,
      )
  for (const value of [undefined, null, 7, {}, new Float64Array(1)])
    assert.throws(() => wrong.set!('wrong', value), { message: 'a cache value is a string or a Uint8Array' })
  assert.throws(() => wrong.set!('wrong'), TypeError)
  for (const seconds of [-1, NaN]) assert.throws(() => wrong.set!('wrong', 'v', seconds), RangeError)
  for (const seconds of ['60', null, {}]) assert.throws(() => wrong.set!('wrong', 'v', seconds), TypeError)
  for (const n of [1.5, NaN, Infinity, 2 ** 53]) assert.throws(() => wrong.inc!('wrong', n), RangeError)
  assert.throws(() => wrong.inc!('wrong', 2n ** 63n), RangeError)
  assert.throws(() => wrong.inc!('wrong', '1'), TypeError)
  assert.equal(pages.exists('wrong'), false, 'nothing is half done')
})

test('one process is attached once', () => {
  assert.throws(() => create(), code('ALREADY_ATTACHED'))
})
