// Addresses as users write them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readAddress, writeAddress } from '../../src/address.ts'

test('a colon makes it TCP, a slash or a name a unix socket, an @ an abstract one', () => {
  assert.deepEqual(readAddress('127.0.0.1:80'), { kind: 'tcp', host: '127.0.0.1', port: 80 })
  assert.deepEqual(readAddress(':80'), { kind: 'tcp', host: '', port: 80 })
  assert.deepEqual(readAddress('[::1]:80'), { kind: 'tcp', host: '::1', port: 80 })
  assert.deepEqual(readAddress('/run/a:b.sock'), { kind: 'unix', path: '/run/a:b.sock' })
  assert.deepEqual(readAddress('app.sock'), { kind: 'unix', path: 'app.sock' })
  assert.deepEqual(readAddress('@app'), { kind: 'unix', path: '\0app' })
})

test('written addresses are read back as they were', () => {
  for (const text of ['127.0.0.1:80', ':80', '[::1]:80', '/run/a.sock', '@app', 'localhost:0'])
    assert.equal(writeAddress(readAddress(text)!), text)
})

test('what is no address is refused', () => {
  for (const text of ['', '8080', ':', 'host:', 'host:http', ':65536', '::1:80', '@', `/${'x'.repeat(107)}`])
    assert.equal(readAddress(text), null, text)
})
