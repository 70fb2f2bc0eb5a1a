// Request variables as uWSGI shows them, and what is not shown.

import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { test } from 'node:test'
import fc from 'fast-check'
import { Redaction, requestVars } from '../../src/stats/vars.ts'

const usual = new Redaction([])
const first = ['GET', '/a%20b/c%2Fd?x=%20y?z', '1.1', '10.0.0.9', '4711', '10.0.0.1', '8080']
const vars = (headers: string[], redaction = usual) => requestVars([...first, ...headers].join('\n'), redaction)

test('a request is told in the words and the order of uWSGI, and ends with an empty string', () => {
  const headers = ['Host', 'h:1', 'X-Two', 'a', 'Content-Type', 'text/plain', 'x-two', 'b', 'Content-Length', '3']
  assert.deepEqual(vars(headers), [
    'REQUEST_METHOD=GET',
    'PATH_INFO=/a b/c/d',
    'REQUEST_URI=/a%20b/c%2Fd?x=%20y?z',
    'QUERY_STRING=x=%20y?z',
    'SERVER_PROTOCOL=HTTP/1.1',
    'SCRIPT_NAME=',
    `SERVER_NAME=${hostname()}`,
    'SERVER_PORT=8080',
    'REMOTE_ADDR=10.0.0.9',
    'REMOTE_PORT=4711',
    'HTTP_HOST=h:1',
    'HTTP_X_TWO=a, b',
    'CONTENT_TYPE=text/plain',
    'CONTENT_LENGTH=3',
    '',
  ])
})

test('credentials are not shown, however their header is spelt, nor is what the operator names', () => {
  const secrets = ['Authorization', 'COOKIE', 'cookie', 'Proxy-Authorization', 'proxy_authorization', 'Set-Cookie']
  const shown = vars(
    [...secrets, 'X-Api-Key'].flatMap((name) => [name, 'hunter2']),
    new Redaction(['x-API-key']),
  )
  assert.doesNotMatch(shown.join(), /hunter2/)
  assert.ok(shown.includes('HTTP_AUTHORIZATION=[redacted]'))
  assert.ok(shown.includes('HTTP_X_API_KEY=[redacted]'))
  assert.equal(shown.filter((one) => one.startsWith('HTTP_COOKIE')).length, 1)
  assert.ok(vars(['X-Api-Key', 'shown']).includes('HTTP_X_API_KEY=shown'))
})

test('wherever the head is cut, no secret comes through and what is shown is true', () => {
  const head = [...first, 'Host', 'h', 'Cookie', 'hunter2hunter2', 'Accept', 'a', 'Authorization', 'hunter2'].join('\n')
  for (let cut = 0; cut <= head.length; cut++) {
    const shown = requestVars(head.slice(0, cut), usual)
    assert.doesNotMatch(shown.join('\n'), /hunt/)
    assert.equal(shown.at(-1), '')
    for (const one of shown.slice(0, -1)) assert.match(one, /^[A-Z_]+=/)
  }
  assert.deepEqual(requestVars('GET', usual).slice(0, 2), ['REQUEST_METHOD=GET', 'QUERY_STRING='])
})

test('no head whatever breaks the document', () => {
  const strange = fc.string({ unit: 'binary', maxLength: 300 })
  const lines = fc.array(fc.oneof(strange, fc.constantFrom('GET', '/%ff%zz%', 'Cookie', '1.1', '')))
  fc.assert(
    fc.property(
      fc.oneof(
        strange,
        lines.map((some) => some.join('\n')),
      ),
      (head) => {
        const shown = requestVars(head, usual)
        assert.deepEqual(
          JSON.parse(JSON.stringify(shown)),
          JSON.parse(JSON.stringify(shown.map((one) => one.toString()))),
        )
        assert.ok(shown.every((one) => one === '' || one.includes('=')))
      },
    ),
  )
})
