// A shell command that reads the message from its standard input, without a line
// end, as in uWSGI. It leads a process group of its own: when its time is over,
// what it has started goes with it.

import { spawn } from 'node:child_process'
import { defineAlarm } from './contract.ts'

export default defineAlarm({
  syntax: 'cmd:COMMAND',
  help: 'run a shell command; it reads the message from its standard input',
  needs: (command) => (command.trim() === '' ? 'a command' : null),

  open(command) {
    let running: number | undefined
    const kill = () => {
      if (running === undefined) return
      try {
        process.kill(-running, 'SIGKILL')
      } catch {
        // it has ended just now
      }
    }
    return {
      raise: (message, deadline) =>
        new Promise((done, failed) => {
          const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'inherit', 'inherit'], detached: true })
          running = child.pid
          child.stdin.on('error', () => {}) // it need not read
          child.stdin.end(message)
          deadline.addEventListener('abort', kill, { once: true })
          child.once('error', failed)
          child.once('exit', (status, signal) => {
            running = undefined
            if (status === 0) done()
            else failed(new Error(`${command}: ${signal === null ? `exit status ${status}` : `killed by ${signal}`}`))
          })
        }),
      close: kill,
    }
  },
})
