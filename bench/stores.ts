// The loops of stores that live in the process, as ours does: lmdb, on a memory file system and without waiting for a disk,
// and SQLite. They come with `npm ci --prefix bench`.

import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { inOrder, makeKeys, turned } from './keys.ts'
import { answerWith } from './timed.ts'

/** As much of them as is used here. */
interface Lmdb {
  open(options: object): {
    getBinary(key: string): Buffer | undefined
    getBinaryFast(key: string): (Buffer & { latin1Slice(from: number, to: number): string }) | undefined
    putSync(key: string, value: Buffer): boolean
    transactionSync<T>(action: () => T): T
  }
}
type Sqlite = new (
  path: string,
) => {
  pragma(text: string): void
  exec(text: string): void
  prepare(text: string): { get(...values: unknown[]): unknown; run(...values: unknown[]): { changes: number } }
}

const require = createRequire(import.meta.url)
const keys = turned(makeKeys('key'))
const absent = turned(makeKeys('not'))
const value = (size: number) => Buffer.alloc(size, 'x')
const folder = mkdtempSync('/dev/shm/uwshm-bench-')
process.on('exit', () => rmSync(folder, { recursive: true }))
process.on('disconnect', () => process.exit())

const lmdb = (name: string, size: number) => {
  const { open } = require('lmdb') as Lmdb
  const store = open({ path: join(folder, `${name}.mdb`), noSync: true, encoding: 'binary', mapSize: 2 ** 28 })
  for (const key of inOrder(keys)) store.putSync(key, value(size))
  return store
}

const sqlite = (name: string, size: number) => {
  const Database = require('better-sqlite3') as Sqlite
  const store = new Database(join(folder, `${name}.sqlite`))
  store.pragma('journal_mode = WAL')
  store.pragma('synchronous = OFF')
  store.exec('create table cache (key text primary key, value blob) without rowid')
  const put = store.prepare('insert or replace into cache values (?, ?)')
  for (const key of inOrder(keys)) put.run(key, value(size))
  return { store, put, get: store.prepare('select value from cache where key = ?') }
}

answerWith({
  lmdbBinary(size) {
    const store = lmdb('binary', size)
    return () => {
      let seen = 0
      for (const key of keys) seen += store.getBinary(key)!.length
      return seen
    }
  },

  lmdbFast(size) {
    const store = lmdb('fast', size)
    return () => {
      let seen = 0
      for (const key of keys) seen += store.getBinaryFast(key)!.length
      return seen
    }
  },

  lmdbString(size) {
    const store = lmdb('string', size)
    return () => {
      let seen = 0
      for (const key of keys) seen += store.getBinaryFast(key)!.latin1Slice(0, size).length
      return seen
    }
  },

  lmdbMiss(size) {
    const store = lmdb('miss', size)
    return () => {
      let seen = 0
      for (const key of absent) seen += store.getBinary(key) === undefined ? 1 : 0
      return seen
    }
  },

  lmdbPut(size) {
    const store = lmdb('put', size)
    const bytes = value(size)
    return () => {
      let seen = 0
      for (const key of keys) seen += store.putSync(key, bytes) ? 1 : 0
      return seen
    }
  },

  /** A hundred in each transaction. */
  lmdbBatch(size) {
    const store = lmdb('batch', size)
    const bytes = value(size)
    return () => {
      for (let from = 0; from < keys.length; from += 100)
        store.transactionSync(() => {
          for (let i = from; i < from + 100 && i < keys.length; i++) store.putSync(keys[i]!, bytes)
        })
      return keys.length
    }
  },

  lmdbInc() {
    const store = lmdb('inc', 8)
    const counter = Buffer.alloc(8)
    return () => {
      for (const key of keys)
        store.transactionSync(() => {
          counter.writeBigInt64LE(store.getBinary(key)!.readBigInt64LE() + 1n)
          store.putSync(key, counter)
        })
      return keys.length
    }
  },

  sqliteGet(size) {
    const { get } = sqlite('get', size)
    return () => {
      let seen = 0
      for (const key of keys) seen += (get.get(key) as { value: Buffer }).value.length
      return seen
    }
  },

  sqliteMiss(size) {
    const { get } = sqlite('miss', size)
    return () => {
      let seen = 0
      for (const key of absent) seen += get.get(key) === undefined ? 1 : 0
      return seen
    }
  },

  sqlitePut(size) {
    const { put } = sqlite('put', size)
    const bytes = value(size)
    return () => {
      let seen = 0
      for (const key of keys) seen += put.run(key, bytes).changes
      return seen
    }
  },

  sqliteInc() {
    const { store } = sqlite('inc', 8)
    const inc = store.prepare('update cache set value = value + 1 where key = ?')
    store.exec('update cache set value = 0')
    return () => {
      let seen = 0
      for (const key of keys) seen += inc.run(key).changes
      return seen
    }
  },
})
