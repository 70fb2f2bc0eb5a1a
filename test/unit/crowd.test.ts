// The clients of the statistics server: what they hold is bounded.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { Crowd } from '../../src/stats/crowd.ts'
import { folder, until } from '../harness.ts'

test('documents that slow clients hold on to are bounded in bytes; the longest idle give theirs up', async (t) => {
  const path = join(folder(t), 'crowd.sock')
  const crowd = new Crowd()
  const document = () => Buffer.alloc(3 * 2 ** 20)
  const served: Socket[] = []
  const server = createServer((socket) => {
    served.push(socket)
    crowd.admit(socket)
    crowd.give(socket, socket, document())
  })
  await once(server.listen({ path }), 'listening')
  const clients: Socket[] = []
  t.after(() => {
    for (const socket of [...clients, ...served]) socket.destroy()
    server.close()
  })
  for (let i = 0; i < 5; i++) {
    clients.push(connect({ path }).pause())
    await until('it is served', () => served.length === i + 1)
    await until('it holds its document, and takes no more', () => served[i]!.writableLength > 0)
  }
  const held = crowd.makeRoom(3 * 2 ** 20)
  assert.equal([...held].length, 1, 'two of three megabytes each are under eight')
  await until('the first are gone', () => served.slice(0, 4).every(({ destroyed }) => destroyed))
  assert.ok(!served[4]!.destroyed)
  assert.equal(crowd.makeRoom(2 ** 20).size, 1, 'there is room')
})
