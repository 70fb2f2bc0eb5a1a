// Writes the pages that are made from tables in the sources.
// Run it after a change of src/options.ts: node --import tsx docs/generate.ts

import { writeFileSync } from 'node:fs'
import { optionsPage } from '../src/help.ts'

writeFileSync(new URL('options.md', import.meta.url), optionsPage())
