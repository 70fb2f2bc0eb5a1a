// The thread in which an operator's function runs: module-function.ts starts it,
// and ends it when it hangs.

import { parentPort, workerData } from 'node:worker_threads'
import type { Answer } from './module-function.ts'

const { url, name } = workerData as { url: string; name: string }

parentPort!.on('message', (given: unknown[]) => {
  void answer(given).then((one) => parentPort!.postMessage(one))
})

async function answer(given: unknown[]): Promise<Answer> {
  try {
    const module = (await import(url)) as Record<string, unknown>
    const called = module[name] ?? (module.default as Record<string, unknown> | undefined)?.[name]
    if (typeof called !== 'function') return { error: `${url} exports no function named ${name}` }
    return sendable(await (called as (...given: unknown[]) => unknown)(...given))
  } catch (error) {
    return { error: `${name} of ${url}: ${error instanceof Error ? error.message : String(error)}` }
  }
}

/** Of what cannot be sent to another thread, only what it is. */
function sendable(value: unknown): Answer {
  const isPlain = value === null || !['object', 'function', 'symbol'].includes(typeof value)
  return { value: isPlain ? value : `a value of type ${typeof value}` }
}
