// A request to a web server, or a mail: `curl:http://host/path;method=PUT`,
// `curl:smtp://host;mail_to=ops@example.org`. Keys are those of uWSGI's plugin, which
// leaves the work to libcurl; we to Node.
//
// As there the message is the body, and what belongs to a mail stands before it,
// also over HTTP: `Subject: …`, an empty line, the message.

import { type RequestOptions, request } from 'node:http'
import { request as requestTls } from 'node:https'
import type { Socket } from 'node:net'
import { defineAlarm } from './contract.ts'
import { sendMail } from './smtp.ts'

const keys = [
  ...['url', 'mail_to', 'mail_from', 'subject', 'ssl', 'ssl_insecure'],
  ...['auth_user', 'auth_pass', 'method', 'timeout', 'conn_timeout'],
] as const
export type CurlKeys = Partial<Record<(typeof keys)[number], string>>

const protocols = ['http:', 'https:', 'smtp:', 'smtps:']
/** uWSGI's --socket-timeout. */
const usualTimeout = '4'

export default defineAlarm({
  syntax: 'curl:URL[;KEY=VALUE…]',
  help: `post the message to a URL, or mail it (http, https, smtp, smtps); keys: ${keys.slice(1).join(', ')}`,

  needs(argument) {
    const given = keysOf(argument)
    if (typeof given === 'string') return given
    const { url = '', mail_to, mail_from } = given
    if (!URL.canParse(url) || !protocols.includes(new URL(url).protocol))
      return 'a URL that begins with http, https, smtp or smtps'
    if (url.startsWith('smtp') && !mail_to) return 'mail_to=ADDRESS, to send a mail'
    if ([mail_to, mail_from, given.subject].some((one) => /[\r\n]/.test(one ?? ''))) return 'a subject of one line'
    if (given.method !== undefined && !/^[A-Za-z]+$/.test(given.method)) return 'a method of letters'
    const isTime = (text = usualTimeout) => /^[1-9]\d{0,4}$/.test(text)
    return isTime(given.timeout) && isTime(given.conn_timeout) ? null : 'timeouts of 1 to 99999 seconds'
  },

  open(argument) {
    const given = keysOf(argument) as CurlKeys & { url: string }
    const timeoutMs = 1000 * Number(given.timeout ?? usualTimeout)
    return {
      raise: (message, deadline) =>
        given.url.startsWith('smtp') ? sendMail(mailOf(given, message), deadline) : post(given, message, deadline),
      patienceMs: timeoutMs,
    }
  },
})

function keysOf(argument: string): CurlKeys | string {
  const given: CurlKeys = {}
  for (const [index, part] of argument.split(';').entries()) {
    const [, key, value] = /^(\w+)=(.*)$/s.exec(part) ?? []
    const known = keys.find((one) => one === key)
    if (known !== undefined) given[known] = value!
    else if (index === 0) given.url = part
    else if (part !== '') return `keys that it knows (${keys.slice(1).join(', ')}), not ${key ?? part}`
  }
  return given
}

function isOn(text = ''): boolean {
  return text !== '' && !/^(0|false|no|off)$/i.test(text)
}

function connectWithinMs({ conn_timeout = usualTimeout }: CurlKeys): number {
  return 1000 * Number(conn_timeout)
}

function mailOf(given: CurlKeys & { url: string }, message: string) {
  const { url, mail_to = '', mail_from = '', subject = '', auth_user, auth_pass = '' } = given
  return {
    url: new URL(url),
    to: mail_to.split(/[,\s]+/).filter(Boolean),
    from: mail_from,
    subject,
    message,
    ...(auth_user !== undefined && { login: { user: auth_user, password: auth_pass } }),
    needsTls: isOn(given.ssl),
    isInsecure: isOn(given.ssl_insecure),
    connectWithinMs: connectWithinMs(given),
  }
}

function post(given: CurlKeys & { url: string }, message: string, deadline: AbortSignal): Promise<void> {
  const { url, method = 'POST', mail_to, subject, auth_user, auth_pass = '' } = given
  const head = [...(mail_to ? [`To: ${mail_to}`] : []), ...(subject ? [`Subject: ${subject}`] : [])]
  const body = Buffer.from(head.length > 0 ? `${head.join('\r\n')}\r\n\r\n${message}` : message)
  const options: RequestOptions & { rejectUnauthorized: boolean } = {
    method: method.toUpperCase(),
    headers: { 'content-type': 'text/plain; charset=utf-8', 'content-length': body.length, 'user-agent': 'uwshm' },
    ...(auth_user !== undefined && { auth: `${auth_user}:${auth_pass}` }),
    signal: deadline,
    agent: false,
    rejectUnauthorized: !isOn(given.ssl_insecure),
  }
  return new Promise((done, failed) => {
    const outgoing = (url.startsWith('https:') ? requestTls : request)(url, options, (incoming) => {
      const status = incoming.statusCode!
      incoming.resume() // what it says is of no interest, but it may say it
      incoming.on('error', failed)
      incoming.on('end', () => {
        if (status < 400) done()
        else failed(new Error(`${withoutPassword(url)} answered ${status}`))
      })
    })
    const late = setTimeout(() => {
      outgoing.destroy(new Error(`no connection to ${withoutPassword(url)} within ${connectWithinMs(given) / 1000} s`))
    }, connectWithinMs(given))
    outgoing.once('socket', (socket: Socket) => {
      socket.once(url.startsWith('https:') ? 'secureConnect' : 'connect', () => clearTimeout(late))
    })
    outgoing.once('close', () => clearTimeout(late))
    outgoing.on('error', (error) => failed(error))
    outgoing.end(body)
  })
}

function withoutPassword(text: string): string {
  const url = new URL(text)
  url.password = ''
  return url.href
}
