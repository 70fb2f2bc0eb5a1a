// What Node needs to run an application written in TypeScript: nothing since
// 22.18, before that the `tsx` that the application itself has installed.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { UwsgiError } from './errors.ts'

export const nodeReadsTypescript = 'typescript' in process.features && Boolean(process.features.typescript)

export function typescriptArguments(app: string, nodeArguments: readonly string[]): string[] {
  if (nodeReadsTypescript || !/\.[cm]?ts$/.test(app)) return []
  // Whoever names a loader knows what it is for.
  if (nodeArguments.some((one) => /^(--import|--loader|--experimental-loader|--require|-r)\b/.test(one))) return []
  try {
    return ['--import', pathToFileURL(createRequire(app).resolve('tsx')).href]
  } catch {
    throw new UwsgiError('TYPESCRIPT', app)
  }
}
