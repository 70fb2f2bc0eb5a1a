// Caches behind a socket: Redis and memcached, started here, asked by the clients that most people use. A call waits for
// another process, so the clock is read, not the CPU.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { inOrder, makeKeys } from './keys.ts'

/** As much of the clients as is used here. */
interface Redis {
  get(key: string): Promise<string | null>
  set(key: string, value: Buffer): Promise<unknown>
  incr(key: string): Promise<number>
  pipeline(): { get(key: string): void; exec(): Promise<[Error | null, unknown][] | null> }
  disconnect(): void
}
interface Memcached {
  get(key: string): Promise<{ value: Buffer | null }>
  set(key: string, value: Buffer, options: object): Promise<boolean>
  close(): void
}

export interface Servers {
  /** Nanoseconds of the clock for one of `count` calls: get, set, inc; pipelined in hundreds. */
  time(loop: string, size: number, count: number): Promise<number>
  stop(): Promise<void>
}

export const serversMissing = () =>
  ['redis-server', 'memcached'].filter((program) => spawnSync(program, ['--version']).status !== 0)

export async function startServers(sizes: number[]): Promise<Servers> {
  const require = createRequire(import.meta.url)
  const folder = mkdtempSync(join(tmpdir(), 'uwshm-bench-'))
  const path = join(folder, 'redis.sock')
  const port = await freePort()
  const silent = { stdio: 'ignore' as const, cwd: folder }
  const children = [
    spawn('redis-server', ['--port', '0', '--unixsocket', path, '--save', '', '--appendonly', 'no'], silent),
    spawn('memcached', ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-u', 'nobody'], silent),
  ]
  await Promise.all([connected(() => connect(path)), connected(() => connect(port, '127.0.0.1'))])
  const { Redis: Client } = require('ioredis') as { Redis: new (options: object) => Redis }
  const memjs = require('memjs') as { Client: { create(servers: string, options: object): Memcached } }
  const redis = new Client({ path })
  const memcached = memjs.Client.create(`127.0.0.1:${port}`, {})

  const keys = makeKeys()
  const value = (size: number) => Buffer.alloc(size, 'x')
  for (const key of inOrder(keys)) {
    for (const size of sizes) await redis.set(`${size}:${key}`, value(size))
    for (const size of sizes) await memcached.set(`${size}:${key}`, value(size), { expires: 0 })
  }

  const loops: Record<string, (key: string, size: number) => Promise<unknown>> = {
    redisGet: (key, size) => redis.get(`${size}:${key}`),
    redisSet: (key, size) => redis.set(`${size}:${key}`, value(size)),
    redisInc: (key) => redis.incr(`counter:${key}`),
    memcachedGet: async (key, size) => (await memcached.get(`${size}:${key}`)).value,
    memcachedSet: (key, size) => memcached.set(`${size}:${key}`, value(size), { expires: 0 }),
  }

  return {
    async time(loop, size, count) {
      const began = process.hrtime.bigint()
      for (let done = 0; done < count; ) {
        if (loop === 'redisPipelined') {
          const batch = redis.pipeline()
          for (let i = 0; i < 100; i++) batch.get(`${size}:${keys[(done + i) % keys.length]}`)
          const answers = await batch.exec()
          if (answers?.length !== 100 || answers.some(([error, found]) => error !== null || found === null))
            throw new Error('Redis did not have what it was given')
          done += 100
        } else if ((await loops[loop]!(keys[done++ % keys.length]!, size)) === null)
          throw new Error(`${loop} got nothing`)
      }
      return Number(process.hrtime.bigint() - began) / count
    },

    async stop() {
      redis.disconnect()
      memcached.close()
      await Promise.all(children.map(ended))
      rmSync(folder, { recursive: true })
    },
  }
}

async function ended(child: ChildProcess): Promise<void> {
  child.kill()
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function connected(open: () => Socket): Promise<void> {
  for (let tries = 0; ; tries++) {
    const socket = open()
    try {
      await once(socket, 'connect')
      return
    } catch (error) {
      if (tries === 200) throw error
      await setTimeout(50)
    } finally {
      socket.destroy()
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
