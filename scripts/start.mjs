// `npm start`: makes the clone ready, runs examples/hello with two workers and says
// what to try next. Ctrl-C ends it.

import { spawn } from 'node:child_process'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { setup } from './setup.mjs'

const host = '127.0.0.1'
const http = 8080
const stats = 9191

const invitation = `
Two workers share one cache now. In another terminal:

  for i in 1 2 3 4 5 6; do curl ${host}:${http}; done    one count, several pids
  nc ${host} ${stats}                                   what the workers and the cache did

Kill one with kill -9 and ask again: the count goes on. Ctrl-C stops everything.
The application is examples/hello/app.ts.
`

setup()
for (const port of [http, stats]) await refuseTaken(port)

const master = spawn(
  process.execPath,
  [
    'dist/cli.js',
    ...['--http-socket', `${host}:${http}`],
    ...['--processes', '2'],
    ...['--cache2', 'name=pages,items=1000'],
    ...['--stats', `${host}:${stats}`],
    'examples/hello/app.ts',
  ],
  { stdio: 'inherit' },
)

// A terminal sends Ctrl-C to the master too; a supervisor sends SIGTERM to us alone.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => master.kill('SIGTERM'))
master.on('exit', (code) => process.exit(code ?? 1))

while (!(await serving())) await setTimeout(50)
console.log(invitation)

/** The stats server knows when both workers have loaded the application. */
async function serving() {
  try {
    const { workers } = JSON.parse(await text(connect(stats, host)))
    return workers.every((worker) => worker.accepting === 1)
  } catch {
    return false
  }
}

async function refuseTaken(port) {
  const probe = createServer()
  const free = await new Promise((resolve) => {
    probe.once('error', () => resolve(false))
    probe.listen(port, host, () => probe.close(() => resolve(true)))
  })
  if (free) return
  console.error(`uwshm: ${host}:${port} is taken; stop the program that listens there, then npm start again`)
  process.exit(1)
}
