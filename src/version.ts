// The package's version, from the one place that says it.

import { createRequire } from 'node:module'

export const { version } = createRequire(import.meta.url)('../package.json') as { version: string }
