// A worker, from its first step to its last: node runs this module in a process
// that the master has started, and it runs the application.

import { createServer } from 'node:http'
import type { Server } from 'node:net'
import { loadApplication } from './app.ts'
import { leaveOnTerm } from './farewell.ts'
import { fromEnvironment, listenerFd, report, segmentPaths } from './handover.ts'
import { watchListen } from './inherited.ts'
import { log } from './log.ts'
import { startBeat } from './metrics/beat.ts'
import { running } from './metrics/cores.ts'
import { reportHeap } from './metrics/heap.ts'
import { countRequests, watchServer } from './metrics/requests.ts'
import { native } from './native.ts'
import { Pause } from './pause.ts'
import { callPostFork, seat } from './seat.ts'

const sigkill = 9
/** uWSGI's exit code for an application that failed. */
const applicationFailed = 22

const handover = fromEnvironment()
// From here on the kernel ends us with the master, whatever we are doing.
if (!native.dieWithParent(handover.master, sigkill)) process.exit()
native.attach(handover.instance, segmentPaths(handover), handover.worker)
seat.sockets = handover.listeners.map((_, index) => listenerFd(handover, index))

// The terminal sends these to the master too, and it knows what to do.
for (const signal of ['SIGINT', 'SIGQUIT', 'SIGHUP'] as const) process.on(signal, () => {})

const startedAt = performance.now()
const servers = new Set<Server>()
let serves = false

countRequests()
startBeat()
reportHeap(handover.worker)
// Whatever becomes of it, and whichever request it was. Unhandled rejections are among them.
process.on('uncaughtExceptionMonitor', () => native.exceptionRaised(-1))
const pause = new Pause(handover.worker, servers, running)
watchListen(handover, {
  onCalled(server) {
    servers.add(server)
    watchServer(server)
  },
  onListening(server) {
    pause.listening(server)
    ready()
  },
  onTaken(address) {
    const why = `${handover.app} listens on ${address} itself, and that is taken`
    fail(`${why}; give the address to the master: --http-socket ${address}`, true)
  },
})
leaveOnTerm(servers, running)

// The application finds its own name and arguments where node puts them.
process.argv.splice(1, 1)
serve().catch((error: unknown) => fail(stackOf(error)))

async function serve(): Promise<void> {
  const listener = await loadApplication(handover.app)
  await callPostFork().catch((error: unknown) => fail(`an onPostFork function failed: ${stackOf(error)}`))
  if (servers.size > 0) return
  if (listener === null) return awaitListen()
  if (handover.listeners.length === 0)
    fail(`${handover.app} exports an application, but there is no address to serve it at; add --http-socket :8080`)
  for (const { address } of handover.listeners)
    createServer(listener).listen(address.kind === 'tcp' ? address : { path: address.path })
}

/** Many programs listen a little later, when their database answers. */
function awaitListen(): void {
  const sentence = `${handover.app} exports no application as its default and calls no listen()`
  const reminder = setTimeout(() => log(`worker ${handover.worker}: ${sentence} so far`), 5000).unref()
  process.once('beforeExit', () => {
    if (servers.size === 0) fail(`${sentence}; export a (req, res) listener or a Request => Response function`)
    clearTimeout(reminder)
  })
}

function ready(): void {
  if (serves) return
  serves = true
  const seconds = (performance.now() - startedAt) / 1000
  native.workerAccepting(seconds)
  log(`worker ${handover.worker} ready in ${seconds.toFixed(2)} seconds (pid: ${process.pid})`)
}

function fail(why: string, hopeless = false): never {
  report(handover, { why, hopeless })
  process.exit(applicationFailed)
}

function stackOf(error: unknown): string {
  return error instanceof Error && error.stack ? error.stack : String(error)
}
