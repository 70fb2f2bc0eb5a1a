// `uwshm fsck FILE`: what a store holds, as a start would find it, and what is wrong with it. It looks at a
// private picture of the file and changes nothing, so it may be asked while the store is in use; then
// what is being written at that moment may look damaged, and it says so.

import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'
import { native, type StoreFigures } from '../native.ts'

const clean = 0
const damaged = 1
const unreadable = 2

/** Prints what there is to say; the exit status: 0 clean, 1 damaged, 2 no store, or not to be read. */
export function fsck(file: string | undefined): number {
  if (file === undefined) return complain('uwshm fsck FILE: name the file of a store')
  let fd = -1
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
    if (!fstatSync(fd).isFile()) return complain(`${file}: no file`)
    const store = native.examineStore(fd)
    if (store.objection !== '') return complain(`${file}: ${store.objection}`)
    const isLive = native.isStoreOwned(fd)
    process.stdout.write(report(file, store, isLive))
    return store.damaged > 0 || store.fault !== '' ? damaged : clean
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return complain(`${file}: ${code === 'ENOENT' ? 'there is no such file' : (code ?? message)}`)
  } finally {
    if (fd >= 0) closeSync(fd)
  }
}

function complain(sentence: string): number {
  process.stderr.write(`uwshm fsck: ${sentence}\n`)
  return unreadable
}

function report(file: string, store: StoreFigures, isLive: boolean): string {
  const number = (n: number) => n.toLocaleString('en')
  const rows: [string, string][] = [
    ['cache', store.name],
    [
      'made for',
      `${number(store.items)} items, blocksize ${number(store.blocksize)}, keysize ${number(store.keysize)}`,
    ],
    [
      '',
      `hashsize ${number(store.hashsize)}, hash ${store.hash}, policy ${store.policy}, thread slots ${store.threads}`,
    ],
    ['file', `${number(store.size)} bytes, changed ${statSync(file).mtime.toISOString().slice(0, 19)}Z`],
    [
      'owner',
      `${isLive ? 'in use by' : 'last used by'} pid ${store.owner}${store.isThisBoot ? '' : ', on an earlier boot'}`,
    ],
    ['items', `${number(store.good)} good, with ${number(store.bytes)} bytes of values`],
    ['expired', number(store.expired)],
    ['replaced', number(store.older)],
    ['damaged', number(store.damaged)],
    ...store.first.map(([slot, key]): [string, string] => ['', `slot ${slot}, key ${printable(key)}`]),
  ]
  if (store.damaged > store.first.length) rows.push(['', `and ${number(store.damaged - store.first.length)} more`])
  const lines = rows.map(([name, text]) => `  ${name.padEnd(10)}${text}`)
  return [file, ...lines, verdict(store, isLive), ''].join('\n')
}

function verdict({ damaged, fault }: StoreFigures, isLive: boolean): string {
  if (damaged === 0 && fault === '') return paint(32, 'clean')
  const items = damaged === 1 ? '1 item is damaged' : `${damaged.toLocaleString('en')} items are damaged`
  if (isLive) return paint(33, `${items}, or being written: it is in use. Look again when it is not`)
  if (fault !== '') return paint(31, `broken: a start would make a cache of it that fails its check (${fault})`)
  return paint(31, `${items}: the next start drops what is damaged, and keeps the rest`)
}

function paint(color: number, text: string): string {
  return process.stdout.isTTY ? `\x1b[${color}m${text}\x1b[0m` : text
}

/** As much of a key as a line takes, with nothing in it that a terminal would obey. */
function printable(key: Buffer): string {
  const text = JSON.stringify(key.subarray(0, 60).toString('latin1')).replace(/[\x7f-\x9f]/g, '?')
  return key.length > 60 ? `${text}…` : text
}
