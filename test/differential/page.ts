// Turns what was compared into docs/cache-differential.md: no figure stands there that this did not print.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Mode } from './calls.ts'
import type { Comparison } from './drive.ts'
import { rows } from './rows.ts'

export function pageOf(told: Map<Mode, Comparison[]>, version: string): string {
  const modes = [...told.keys()]
  const fired = (mode: Mode, says: string) =>
    told.get(mode)!.reduce((sum, { byRow }) => sum + ([...byRow].find(([row]) => row.says === says)?.[1] ?? 0), 0)
  const never = rowsOfPage().filter(
    (cell) => !rows.some(({ says }) => cell.startsWith(says) && modes.some((mode) => fired(mode, says) > 0)),
  )
  return `<!-- Written by test/process/cache-differential.test.ts in its long form; do not edit. -->

# The same calls on uWSGI's cache and on ours

Random calls that a seed decides are made on the cache of uWSGI ${version}, in a Python worker, and on ours. Each answer is
compared; where they differ a row of [differences.md](differences.md) must say why, or the test fails. After such a
difference our cache is made to hold what uWSGI's holds, so that each is counted once.

No answer was left unexplained; hits, misses, refusals for want of room and evictions agreed as well.

| mode | keys of \`--cache2\` | seeds | calls | answers that differ | by rows |
|---|---|---:|---:|---:|---:|
${modes.map((mode) => modeRow(mode, told.get(mode)!)).join('\n')}

With \`purge_lru\`, \`clear_on_full\` and \`sweep_on_full\` uWSGI was given one item more than we: its \`items=N\` holds N-1, and
who is evicted would differ from then on.

## What differs, by row of differences.md

| uWSGI 2.0 | times |
|---|---:|
${rows.map(({ says }) => `| ${says} … | ${modes.reduce((sum, mode) => sum + fired(mode, says), 0).toLocaleString('en')} |`).join('\n')}

## Rows about the cache that no such call can show

They are about several processes, deaths, memory, options, the log or the statistics; each has a test of its own.

${never.map((cell) => `- ${cell}`).join('\n')}
`
}

function modeRow({ name, keys }: Mode, comparisons: Comparison[]): string {
  const calls = comparisons.reduce((sum, found) => sum + found.calls, 0)
  const differ = comparisons.reduce((sum, { byRow }) => sum + [...byRow.values()].reduce((all, n) => all + n, 0), 0)
  const distinct = new Set(comparisons.flatMap(({ byRow }) => [...byRow.keys()])).size
  const numbers = [comparisons.length, calls, differ, distinct].map((n) => n.toLocaleString('en'))
  return `| ${name} | \`${keys}\` | ${numbers.join(' | ')} |`
}

/** The first cells of the table about the cache. */
function rowsOfPage(): string[] {
  const page = readFileSync(join(import.meta.dirname, '../../docs/differences.md'), 'utf8')
  const [, table] = /^## Cache\n(.*?)^## /ms.exec(page)!
  return [...table!.matchAll(/^\| (.*?) \| /gm)].map(([, cell]) => cell!).slice(1)
}
