// Clients that mean no good, in a process of their own, so that a good client beside
// them waits for the server alone: `fork(…, [JSON of where, how many, what they do])`.
// They come back when they are dismissed, until told 'stay away'. Tells how many were
// met, whenever it is asked.

import { connect, type NetConnectOpts, type Socket } from 'node:net'

type Behaviour = (socket: Socket) => void

export const kinds: Record<string, Behaviour> = {
  'never read': () => {},
  'never read, over TCP': () => {},
  'read a byte a second': (socket) => everySecond(socket, () => socket.read(1)),
  'never send': () => {},
  'send a byte a second': (socket) => everySecond(socket, () => socket.write('G')),
  'ask and never read': (socket) => socket.write('GET / HTTP/1.1\r\n\r\n'),
  'ask and read a byte a second': (socket) => {
    socket.write('GET / HTTP/1.0\r\n\r\n')
    everySecond(socket, () => socket.read(1))
  },
}

function everySecond(socket: Socket, act: () => void): void {
  const timer = setInterval(act, 1000)
  socket.on('close', () => clearInterval(timer))
}

function besiege(where: NetConnectOpts, count: number, behave: Behaviour): void {
  const sockets = new Set<Socket>()
  let comes = true
  let met = 0
  const come = () => {
    if (!comes) return
    const socket = connect(where, () => {
      met++
      behave(socket)
    }).pause()
    sockets.add(socket)
    socket
      .on('error', () => {})
      .on('close', () => {
        sockets.delete(socket)
        if (comes) setTimeout(come, 1000)
      })
  }
  // A paused socket does not hear that it was dismissed, unless it writes.
  setInterval(() => {
    const [oldest] = sockets
    oldest?.destroy()
  }, 5)
  process.on('message', (message) => {
    if (message === 'stay away') comes = false
    process.send!(met)
  })
  process.once('disconnect', () => process.exit())
  for (let i = 0; i < count; i++) come()
}

if (process.send) {
  const [where, count, kind] = process.argv.slice(2) as [string, string, string]
  besiege(JSON.parse(where) as NetConnectOpts, Number(count), kinds[kind]!)
}
