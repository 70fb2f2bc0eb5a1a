// How a worker leaves: it stops accepting, finishes what runs, and goes. The
// master decides when patience ends.

import { subscribe } from 'node:diagnostics_channel'
import type { Server as HttpServer, ServerResponse } from 'node:http'
import type { Server } from 'node:net'
import { callExit } from './seat.ts'

export function leaveOnTerm(servers: ReadonlySet<Server>, running: () => ServerResponse[]): void {
  let isLeaving = false
  process.on('SIGTERM', () => {
    if (isLeaving) return
    isLeaving = true
    // An application that handles SIGTERM itself decides when it is done.
    const isOurs = process.listenerCount('SIGTERM') === 1
    let isOver = false
    const leave = () => {
      if (isOver || !isOurs || [...servers].some(({ listening }) => listening)) return
      // A server hears of the end of a connection that was broken off before the connection itself does.
      const [last] = running()
      if (last) return void last.req.socket.once('close', leave)
      isOver = true
      void callExit().then(() => process.exit())
    }
    for (const response of running()) lastOfItsConnection(response)
    subscribe('http.server.request.start', (message) => {
      lastOfItsConnection((message as { response: ServerResponse }).response)
    })
    let open = 0
    for (const server of servers) {
      if (!server.listening) continue
      open++
      server.close(() => --open || leave())
      // A response that was begun as keep-alive leaves its connection idle.
      const closeIdle = () => (server as Partial<HttpServer>).closeIdleConnections?.()
      for (const response of running()) response.once('close', () => setImmediate(closeIdle))
    }
    if (open === 0) leave()
  })
}

export function lastOfItsConnection(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('connection', 'close')
}
