// What alarms are sent to: `receiver.mjs http|https|smtp [KEY CERT]`, in a process of
// its own. It prints its port, then a line of JSON for everything it gets.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { createServer as createPlain } from 'node:net'
import { TLSSocket } from 'node:tls'

const [kind, keyFile, certFile] = process.argv.slice(2)
const tls = keyFile ? { key: readFileSync(keyFile), cert: readFileSync(certFile) } : {}
const print = (given) => console.log(JSON.stringify(given))

function onRequest(request, response) {
  let body = ''
  request.setEncoding('utf8').on('data', (part) => {
    body += part
  })
  request.on('end', () => {
    const { method, url, headers } = request
    print({ method, url, headers, body })
    if (url === '/hangs') return
    response.writeHead(url === '/fails' ? 500 : 200).end('thank you')
  })
}

function onMail(socket) {
  const said = []
  let isMessage = false
  let rest = ''
  const answers = {
    EHLO: '250-here\r\n250-AUTH LOGIN PLAIN\r\n250 STARTTLS',
    AUTH: '235 welcome',
    RCPT: '250 ok',
    MAIL: '250 ok',
    DATA: '354 go on',
    QUIT: '221 bye',
  }
  const listen = (stream, isTls) => {
    stream.on('error', () => {})
    stream.on('data', (bytes) => {
      const lines = (rest + bytes).split('\r\n')
      rest = lines.pop()
      for (const line of lines) {
        said.push(line)
        if (isMessage && line !== '.') continue
        if (isMessage) {
          isMessage = false
          stream.write('250 taken\r\n')
          print({ isTls, said })
        } else if (line === 'STARTTLS') {
          stream.removeAllListeners('data')
          stream.write('220 begin\r\n')
          listen(new TLSSocket(stream, { isServer: true, ...tls }), true)
        } else {
          isMessage = line === 'DATA'
          const refused = line.includes('nobody@')
          stream.write(`${refused ? '550 no such user' : (answers[line.slice(0, 4)] ?? '500 what?')}\r\n`)
        }
      }
    })
  }
  socket.write('220 here\r\n')
  listen(socket, false)
}

const servers = {
  http: () => createServer(onRequest),
  https: () => createTlsServer(tls, onRequest),
  smtp: () => createPlain(onMail),
}
const server = servers[kind]().listen(0, '127.0.0.1', () => print(server.address().port))
