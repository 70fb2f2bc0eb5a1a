// A mail, sent as a client of the operator's mail server: one connection, one
// command after the other, plain or by TLS (smtps:, or STARTTLS with ssl=1).

import { connect as connectPlain, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { createInterface } from 'node:readline'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

export interface Mail {
  /** smtp://host[:port] or smtps:// */
  url: URL
  to: string[]
  /** May be empty: nobody is told if it cannot be delivered. */
  from: string
  subject: string
  message: string
  login?: { user: string; password: string }
  needsTls: boolean
  isInsecure: boolean
  connectWithinMs: number
}

export async function sendMail(mail: Mail, deadline: AbortSignal): Promise<void> {
  const { url, from, to, login, needsTls, isInsecure, connectWithinMs } = mail
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const tls: ConnectionOptions = { host, servername: host, rejectUnauthorized: !isInsecure }
  const isTls = url.protocol === 'smtps:'
  const port = Number(url.port || (isTls ? 465 : 25))
  const socket = isTls ? connectTls({ ...tls, port }) : connectPlain({ host, port })
  let talk = new Conversation(socket, connectWithinMs, `${host}:${port}`)
  const hangUp = () => talk.end()
  deadline.addEventListener('abort', hangUp, { once: true })
  try {
    await talk.answer(220)
    let offers = await talk.say(`EHLO ${hostname()}`, 250)
    if (needsTls && !isTls) {
      await talk.say('STARTTLS', 220)
      talk = talk.secured((socket) => connectTls({ ...tls, socket }))
      offers = await talk.say(`EHLO ${hostname()}`, 250)
    }
    if (login) {
      if (!/^AUTH[ =].*\bPLAIN\b/im.test(offers)) throw new Error(`${host} does not offer AUTH PLAIN`)
      const secret = Buffer.from(`\0${login.user}\0${login.password}`).toString('base64')
      await talk.say(`AUTH PLAIN ${secret}`, 235, 'AUTH PLAIN')
    }
    await talk.say(`MAIL FROM:<${from}>`, 250)
    for (const one of to) await talk.say(`RCPT TO:<${one}>`, 250)
    await talk.say('DATA', 354)
    await talk.say(`${textOf(mail)}\r\n.`, 250, 'the mail')
    talk.write('QUIT')
  } finally {
    deadline.removeEventListener('abort', hangUp)
    talk.end()
  }
}

function textOf({ from, to, subject, message }: Mail): string {
  const lines = [
    ...(from ? [`From: ${from}`] : []),
    `To: ${to.join(', ')}`,
    ...(subject ? [`Subject: ${/^[ -~]*$/.test(subject) ? subject : encodedWord(subject)}`] : []),
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: base64',
    '',
    // Whatever the message holds, no line of it is too long, or a lone dot.
    ...(Buffer.from(message)
      .toString('base64')
      .match(/.{1,76}/g) ?? []),
  ]
  return lines.join('\r\n')
}

function encodedWord(text: string): string {
  return `=?utf-8?B?${Buffer.from(text).toString('base64')}?=`
}

class Conversation {
  private readonly socket: Socket
  private readonly peer: string
  private readonly lines: AsyncIterator<string>
  private error: Error | null = null

  constructor(socket: Socket, connectWithinMs: number, peer: string) {
    this.socket = socket
    this.peer = peer
    const late = setTimeout(() => {
      socket.destroy(new Error(`no connection to ${peer} within ${connectWithinMs / 1000} s`))
    }, connectWithinMs)
    for (const event of ['connect', 'secureConnect', 'close']) socket.once(event, () => clearTimeout(late))
    socket.on('error', (error) => {
      this.error = error
    })
    const reader = createInterface({ input: socket })
    this.lines = reader[Symbol.asyncIterator]()
    socket.once('close', () => reader.close())
  }

  /** Speaks on by TLS over the same connection. */
  secured(upgrade: (socket: Socket) => Socket): Conversation {
    this.socket.removeAllListeners('data')
    return new Conversation(upgrade(this.socket), 10_000, this.peer)
  }

  write(line: string): void {
    this.socket.write(`${line}\r\n`)
  }

  /** `shown`: what errors call it, where the line itself is long or secret. */
  say(line: string, wanted: number, shown = line): Promise<string> {
    this.write(line)
    return this.answer(wanted, shown)
  }

  /** All lines of the answer: `250-a`, `250 b`. */
  async answer(wanted: number, to = 'our connection'): Promise<string> {
    const said: string[] = []
    for (;;) {
      const { value: line, done } = await this.lines.next()
      if (done) throw this.error ?? new Error(`${this.peer} hung up after ${to}`)
      if (said.push(line.slice(4)) > 100) throw new Error(`${this.peer} does not come to an end`)
      if (/^\d{3}-/.test(line)) continue
      if (!line.startsWith(String(wanted))) throw new Error(`${this.peer} answered ${to} with ${line.slice(0, 200)}`)
      return said.join('\n')
    }
  }

  end(): void {
    this.socket.end()
    this.socket.destroySoon()
  }
}
