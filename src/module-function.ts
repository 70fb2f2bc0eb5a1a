// A function of the operator's, named on the command line: `./load.ts:measure`.
//
// It runs in the master's process, but in a thread of its own: whatever it does,
// the master goes on. One that gives no answer is ended with its thread, and the
// next call begins anew. One call at a time: the caller waits for the answer.

import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { typescriptArguments } from './typescript.ts'

/** What the thread answers; of an object only that it is one. */
export type Answer = { value: unknown } | { error: string }

export class ModuleFunction {
  static readonly patienceMs = 10_000

  private readonly spelling: string
  private readonly path: string
  private readonly name: string
  private thread: Worker | null = null

  /** `./module.ts:function` */
  static isOne(text: string): boolean {
    return /.:[\w$]+$/.test(text)
  }

  constructor(spelling: string) {
    const colon = spelling.lastIndexOf(':')
    this.spelling = spelling
    this.path = resolve(spelling.slice(0, colon))
    this.name = spelling.slice(colon + 1)
  }

  call(...given: unknown[]): Promise<unknown> {
    return new Promise((found, failed) => {
      const asked = (this.thread ??= this.start())
      const done = (error?: Error) => {
        clearTimeout(deadline)
        asked.off('message', onMessage).off('error', done).off('exit', onExit)
        if (error) failed(error)
      }
      const onMessage = (answer: Answer) => {
        done('error' in answer ? new Error(answer.error) : undefined)
        if ('value' in answer) found(answer.value)
      }
      const onExit = () => done(new Error(`${this.spelling} ended its thread`))
      const deadline = setTimeout(() => {
        done(new Error(`${this.spelling} gave no answer within ${ModuleFunction.patienceMs / 1000} seconds`))
        this.thread = null
        void asked.terminate()
      }, ModuleFunction.patienceMs).unref()
      asked.on('message', onMessage).once('error', done).once('exit', onExit)
      asked.postMessage(given)
    })
  }

  close(): void {
    void this.thread?.terminate()
  }

  private start(): Worker {
    const workerData = { url: pathToFileURL(this.path).href, name: this.name }
    const execArgv = [...process.execArgv, ...typescriptArguments(this.path, process.execArgv)]
    const started = new Worker(threadModule(), { workerData, execArgv })
    started.unref()
    started.once('exit', () => {
      if (this.thread === started) this.thread = null
    })
    return started
  }
}

function threadModule(): URL {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return new URL(`module-function-thread.${extension}`, import.meta.url)
}
