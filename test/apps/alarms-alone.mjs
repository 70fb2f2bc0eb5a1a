// A master of its own: a child raises an alarm, then the program raises one that calls itself.

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { create, uwsgi } from '../../dist/index.js'

if (process.argv[2] === 'child') {
  uwsgi.alarm('lg', 'from a child')
} else {
  create({ alarm: ['lg log:PFX', 's signal:3'] })
  uwsgi.onSignal(3, (signal, message) => {
    process.stderr.write(`heard ${signal}: ${message}\n`)
    process.exit()
  })
  setTimeout(() => process.exit(1), 15_000)
  fork(fileURLToPath(import.meta.url), ['child']).once('exit', () => uwsgi.alarm('s', 'from the program itself'))
}
