// `--connect-and-read ADDR`: a statistics document, ours or uWSGI's, on stdout. A
// program gets the bytes as they are; a person at a terminal gets them laid out,
// and without control characters, which a stranger's request may have put there.
//
// It is not parsed: a number may be larger than JavaScript can hold, and uWSGI's
// documents are not always valid.

import { get } from 'node:http'
import { connect, Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { type Address, readAddress } from '../address.ts'
import { UwsgiError } from '../errors.ts'
import { native } from '../native.ts'

const deadlineMs = 5000

export async function connectAndRead(from: string): Promise<void> {
  const bytes = await readDocument(from)
  process.stdout.on('error', () => {}) // `| head` has seen enough
  process.stdout.write(process.stdout.isTTY ? `${pretty(bytes.toString())}\n` : bytes)
}

async function readDocument(from: string): Promise<Buffer> {
  const inTime = AbortSignal.timeout(deadlineMs)
  try {
    const stream = await open(from, inTime)
    const bytes = Buffer.concat((await stream.toArray({ signal: inTime })) as Buffer[])
    if (bytes.length > 0) return bytes
    throw new Error('it closed the connection without a word')
  } catch (error) {
    const { message } = error as Error
    throw new UwsgiError(
      'STATS_UNREADABLE',
      from,
      inTime.aborted ? `no end after ${deadlineMs / 1000} seconds` : message,
    )
  }
}

async function open(from: string, signal: AbortSignal): Promise<Readable> {
  if (from.startsWith('http://')) return openHttp(from, signal)
  const socket = openPlain(readAddress(from)!)
  signal.addEventListener('abort', () => socket.destroy())
  return socket
}

function openPlain(address: Address): Socket {
  if (address.kind === 'tcp') return connect({ host: address.host || '127.0.0.1', port: address.port })
  // Node 20 pads an abstract name with zeros.
  if (address.path.startsWith('\0')) return new Socket({ fd: native.connectUnix(address.path) })
  return connect({ path: address.path })
}

function openHttp(url: string, signal: AbortSignal): Promise<Readable> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false, signal }, (answer) => {
      if (answer.statusCode === 200) return resolve(answer)
      answer.destroy()
      reject(new Error(`it answers with status ${answer.statusCode}`))
    }).on('error', reject)
  })
}

/** JSON laid out with tabs, whatever its own layout. */
export function pretty(json: string): string {
  let depth = 0
  let before = ''
  let text = ''
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^"{}[\],:\s]+|"/gs)) {
    const closes = token === '}' || token === ']'
    if (closes) depth--
    const isEmpty = closes && (before === '{' || before === '[')
    if (!isEmpty && (closes || before === '{' || before === '[' || before === ','))
      text += `\n${'\t'.repeat(Math.max(0, depth))}`
    text += token === ':' ? ': ' : harmless(token)
    if (token === '{' || token === '[') depth++
    before = token
  }
  return text
}

function harmless(token: string): string {
  return token.replace(/\p{Cc}/gu, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
