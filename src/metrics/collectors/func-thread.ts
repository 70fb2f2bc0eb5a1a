// The thread in which an operator's collector function runs: func.ts starts it,
// and ends it when it hangs.

import { parentPort, workerData } from 'node:worker_threads'
import type { Answer } from './func.ts'

const { url, name } = workerData as { url: string; name: string }

parentPort!.on('message', () => {
  void answer().then((one) => parentPort!.postMessage(one))
})

async function answer(): Promise<Answer> {
  try {
    const module = (await import(url)) as Record<string, unknown>
    const measure = module[name] ?? (module.default as Record<string, unknown> | undefined)?.[name]
    if (typeof measure !== 'function') return { error: `${url} exports no function named ${name}` }
    const value: unknown = await (measure as () => unknown)()
    if (typeof value === 'bigint') return { value }
    if (typeof value === 'number' && Number.isFinite(value)) return { value: BigInt(Math.trunc(value)) }
    return { error: `${name} of ${url} returned ${String(value)}, not a number` }
  } catch (error) {
    return { error: `${name} of ${url}: ${error instanceof Error ? error.message : String(error)}` }
  }
}
