// A server of its own, with what an exported handler cannot have: upgrades,
// CONNECT, time limits, and its own answer to what cannot be read.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

const [, , what, pem] = process.argv
const limits = { headersTimeout: 300, requestTimeout: 300, connectionsCheckingInterval: 50 }
const answer = (request, response) => {
  request.resume()
  if (request.url !== '/hang') response.end('hello')
}
const tunnel = (_request, socket, head) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  socket.write(head)
  socket.pipe(socket)
}

const server = pem
  ? (await import('node:https')).createServer({ key: readFileSync(pem), cert: readFileSync(pem) }, answer)
  : createServer(what === 'limits' || what === 'ignores' ? limits : {}, answer)
if (what === 'tunnels') server.on('upgrade', tunnel).on('connect', tunnel)
if (what === 'answers') server.on('clientError', (_, socket) => socket.end('HTTP/1.1 418 No\r\n\r\n'))
// Node asks about the same connection again when its time is over.
if (what === 'ignores') server.on('clientError', (_, socket) => socket.write('no'))
server.listen(0, '127.0.0.1', () => console.log(`listens at port ${server.address().port}`))
