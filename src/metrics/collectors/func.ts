// A function of the operator's: `arg1=./load.ts:measure`. It returns a number or
// a bigint, or a promise of one.
//
// It runs in the master's process, but in a thread of its own: whatever it does,
// the master goes on. One that gives no answer is ended with its thread, and the
// next look begins anew.

import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { typescriptArguments } from '../../typescript.ts'
import { defineCollector } from './contract.ts'

const patienceMs = 10_000

/** What the thread answers. */
export type Answer = { value: bigint } | { error: string }

export default defineCollector({
  needs: ({ arg1 }) => (/.:[\w$]+$/.test(arg1) ? null : 'arg1=./module.ts:function'),

  open({ arg1 }) {
    const colon = arg1.lastIndexOf(':')
    const path = resolve(arg1.slice(0, colon))
    const workerData = { url: pathToFileURL(path).href, name: arg1.slice(colon + 1) }
    let thread: Worker | null = null

    const start = (): Worker => {
      const execArgv = [...process.execArgv, ...typescriptArguments(path, process.execArgv)]
      const started = new Worker(threadModule(), { workerData, execArgv })
      started.unref()
      started.once('exit', () => {
        if (thread === started) thread = null
      })
      return started
    }

    return {
      read: () =>
        new Promise<bigint>((found, failed) => {
          const asked = (thread ??= start())
          const done = (error?: Error) => {
            clearTimeout(deadline)
            asked.off('message', onMessage).off('error', done).off('exit', onExit)
            if (error) failed(error)
          }
          const onMessage = (answer: Answer) => {
            done('error' in answer ? new Error(answer.error) : undefined)
            if ('value' in answer) found(answer.value)
          }
          const onExit = () => done(new Error(`${arg1} ended its thread`))
          const deadline = setTimeout(() => {
            done(new Error(`${arg1} gave no answer within ${patienceMs / 1000} seconds`))
            thread = null
            void asked.terminate()
          }, patienceMs).unref()
          asked.on('message', onMessage).once('error', done).once('exit', onExit)
          asked.postMessage('read')
        }),
      close: () => void thread?.terminate(),
    }
  },
})

function threadModule(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? 'func-thread.ts' : 'func-thread.js', import.meta.url)
}
