// The statistics server: whoever connects gets the document, then the end. With
// --stats-http it is asked for and answered in HTTP.
//
// It must not be able to hold up the master. Sockets are Node's own, so writing
// never blocks; the crowd bounds who may linger (crowd.ts), and all share one
// document (press.ts). uWSGI's master stands still for as long as one client of
// its unix socket does not read.

import { createServer as createHttpServer } from 'node:http'
import { createServer, type Socket } from 'node:net'
import type { Listener } from '../listen.ts'
import { log } from '../log.ts'
import { native } from '../native.ts'
import { Crowd } from './crowd.ts'
import { httpAnswer } from './http.ts'
import { Press } from './press.ts'
import type { Statistics } from './snapshot.ts'

/** What a client sends is dropped; one that sends more than this wants to keep us busy. */
const mostSent = 2 ** 20
/** Left to itself, the kernel would keep megabytes of a document for a client of TCP that does not read. */
const mostUnread = 2 ** 17

export class StatsServer {
  private readonly crowd = new Crowd()
  private readonly press: Press

  constructor(listener: Listener, statistics: Statistics, isHttp: boolean) {
    this.press = new Press(statistics, this.crowd)
    const reach = reachOf(listener)
    if (reach === 'network')
      log(
        `*** WARNING: the stats server on ${listener.name} answers whoever can reach this machine, with the addresses and ` +
          'headers of running requests: give --stats an address of 127.0.0.1 or a unix path ***',
      )
    native.limitSending(listener.fd, mostUnread)
    const server = isHttp ? this.httpServer(reach === 'loopback') : this.plainServer()
    server.on('error', () => {}) // out of descriptors: the client is gone, the master is not
    server.listen({ fd: listener.fd }, listener.backlog)
  }

  private plainServer() {
    // Whoever sends and ends first still gets the document.
    return createServer({ allowHalfOpen: true }, (socket) => {
      this.crowd.admit(socket)
      // Closing with unread bytes would reset the connection, and the document with it.
      socket.on('data', () => {
        if (socket.bytesRead > mostSent) socket.destroy()
      })
      this.crowd.wait(socket, () => this.crowd.give(socket, socket, this.press.document() ?? Buffer.alloc(0)))
    })
  }

  private httpServer(isForLocals: boolean) {
    const server = createHttpServer({ maxHeaderSize: 8192, requireHostHeader: false }, (request, response) => {
      this.crowd.wait(request.socket, () => {
        const { status, headers, body } = httpAnswer(request, isForLocals, () => this.press.document())
        response.writeHead(status, { ...headers, 'Content-Length': body.length, Connection: 'close' })
        if (request.method === 'HEAD') response.end()
        else this.crowd.give(request.socket, response, body)
      })
    })
    return server.prependListener('connection', (socket: Socket) => this.crowd.admit(socket))
  }
}

/** From where it can be called, as bound, whatever name was given. */
function reachOf({ fd, address }: Listener): 'file' | 'loopback' | 'network' {
  if (address.kind === 'unix') return 'file'
  return /^(127\.|::1$|::ffff:127\.)/.test(String(native.boundAddress(fd)[0])) ? 'loopback' : 'network'
}
