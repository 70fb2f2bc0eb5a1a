// Caches that make room, as an operator configures them: one real instance, this process its master.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create, uwsgi } from 'uwshm'
import { native } from '../../dist/native.js'

create({
  cache2: [
    'name=lru,items=3,blocksize=64,purge_lru=1',
    'name=strict,items=3,blocksize=64,policy=lru-strict',
    'name=sieve,items=3,blocksize=64,policy=sieve',
    'name=cleared,items=3,blocksize=64,clear_on_full=1',
    'name=lazy,items=3,blocksize=64,lazy_expire=1',
    'name=lazy lru,items=3,blocksize=64,lazy_expire=1,purge_lru=1',
    'name=unswept,items=3,blocksize=64,no_expire=1',
    'name=swept,items=1000,blocksize=64',
  ],
})
const names = ['lru', 'strict', 'sieve', 'cleared', 'lazy', 'lazy lru', 'unswept', 'swept']
const figures = (name: string) => native.cacheFigures(names.indexOf(name))

test('with purge_lru a fourth item takes the place of the one used longest ago', () => {
  for (const name of ['lru', 'strict']) {
    const cache = uwsgi.cache(name)
    for (const key of ['a', 'b', 'c']) assert.equal(cache.set(key, key), true)
    assert.equal(cache.getString('a'), 'a')
    assert.equal(cache.exists('b'), true, 'to look whether it exists is no use of it')
    assert.equal(cache.set('d', 'd'), true)
    assert.deepEqual(cache.keys().sort(), ['a', 'c', 'd'], name)
    assert.equal(cache.update('c', 'C'), true)
    assert.equal(cache.set('e', 'e'), true)
    assert.deepEqual(cache.keys().sort(), ['c', 'd', 'e'], name)
    const { policy, evictions, full, items } = figures(name)
    assert.deepEqual([policy, evictions, full, items], [name === 'lru' ? 'lru' : 'lru-strict', 2, 0, 3])
  }
})

test('with policy=sieve what was read stays while others come and go', () => {
  const cache = uwsgi.cache('sieve')
  cache.set('kept', 'v')
  for (let i = 0; i < 100; i++) {
    assert.equal(cache.getString('kept'), 'v', `after ${i} others`)
    assert.equal(cache.set(`passing ${i}`, 'v'), true)
  }
  assert.equal(figures('sieve').items, 3)
})

test('with clear_on_full the item that finds no room stands alone', () => {
  const cache = uwsgi.cache('cleared')
  for (const key of ['a', 'b', 'c', 'd']) assert.equal(cache.set(key, key), true)
  assert.deepEqual(cache.keys(), ['d'])
  assert.deepEqual([figures('cleared').evictions, figures('cleared').full], [3, 0])
})

test('what has expired is swept without a call, while the event loop stands still', () => {
  const cache = uwsgi.cache('swept')
  const left = ['lazy', 'lazy lru', 'unswept'].map((name) => uwsgi.cache(name))
  for (const one of left) one.set('brief', 'v', 0.01)
  for (let i = 0; i < 500; i++) cache.set(`key ${i}`, 'v', 0.05)
  cache.set('stays', 'v')
  assert.equal(cache.size, 501)
  const until = performance.now() + 20_000
  while (cache.size > 1 && performance.now() < until);
  assert.deepEqual(cache.keys(), ['stays'])
  assert.equal(cache.size, 1)
  for (const one of left) assert.deepEqual([one.size, one.keys()], [1, []], 'it has expired, and nobody sweeps')
})

test('with purge_lru and lazy_expire an item lives as long as it was said', () => {
  const cache = uwsgi.cache('lazy lru')
  assert.equal(cache.update('timed', 'v', 60), true)
  assert.equal(cache.getString('timed'), 'v')
  assert.ok(cache.ttl('timed')! > 50)
})
