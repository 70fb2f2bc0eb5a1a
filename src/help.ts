// The table of options as a person reads it: `--help`, and docs/options.md
// (written by docs/generate.ts; a test compares).

import type { Field } from './fields.ts'
import { cache2, metric, table, threshold } from './options.ts'

const options: [name: string, field: Field<unknown>][] = Object.entries(table)
const cacheKeys: [name: string, field: Field<unknown>][] = Object.entries(cache2.fields)
const thresholdKeys: [name: string, field: Field<unknown>][] = Object.entries(threshold.fields)
const metricKeys: [name: string, field: Field<unknown>][] = Object.entries(metric.fields)

export function helpText(): string {
  return [
    'uwshm [options] app.ts [-- arguments of the application]',
    'uwshm fsck FILE        says what the store of a cache holds, and what is wrong with it',
    '',
    'Starts a master and its workers; they share caches and counters in mapped memory.',
    'The application exports a (req, res) listener or a Request => Response function',
    'as its default, or calls listen() itself.',
    '',
    ...columns(options.map(([name, field]) => [spelling(name, field).join(', '), sentence(field)])),
    '',
    'keys of --cache2, as in name=pages,items=10000:',
    ...columns(cacheKeys.map(([name, field]) => [`${name}=${field.syntax}`, sentence(field)])),
    '',
    'keys of --metric, as in name=orders,type=gauge; a NAME alone is a counter:',
    ...columns(metricKeys.map(([name, field]) => [`${name}=${field.syntax}`, sentence(field)])),
    '',
    'keys of --metric-threshold, as in key=orders,value=100,alarm=web:',
    ...columns(thresholdKeys.map(([name, field]) => [`${name}=${field.syntax}`, sentence(field)])),
    '',
    'An ADDRESS is host:port, :port, a unix path or @name. BYTES may end in k, m or g.',
    '',
  ].join('\n')
}

export function optionsPage(): string {
  return [
    '# Options',
    '',
    '<!-- Written by docs/generate.ts from src/options.ts. -->',
    '',
    '    uwshm [options] app.ts [-- arguments of the application]',
    '',
    'An option stands anywhere on the line, as `--option value` or `--option=value`. An ADDRESS is `host:port`, `:port`,',
    'a unix path or `@name` (abstract). BYTES may end in `k`, `m` or `g`.',
    '',
    ...rows(
      ['option', 'default', 'meaning'],
      options.map(([name, field]) => optionRow(name, field)),
    ),
    '',
    '## Keys of `--cache2`',
    '',
    '    --cache2 name=pages,items=10000,blocksize=64k',
    '',
    'A backslash keeps what follows: `name=a\\,b`.',
    '',
    ...rows(
      ['key', 'default', 'meaning'],
      cacheKeys.map(([name, field]) => keyRow(name, field)),
    ),
    '',
    '## Keys of `--metric`',
    '',
    '    --metric orders',
    '    --metric name=load,type=gauge,collector=file,arg1=/proc/loadavg,scale=100',
    '',
    'A name alone is a counter. A backslash keeps what follows.',
    '',
    ...rows(
      ['key', 'default', 'meaning'],
      metricKeys.map(([name, field]) => keyRow(name, field)),
    ),
    '',
    '## Keys of `--metric-threshold`',
    '',
    '    --metric-threshold key=orders,value=100,clear=80,alarm=web,msg=many orders',
    '',
    ...rows(
      ['key', 'default', 'meaning'],
      thresholdKeys.map(([name, field]) => keyRow(name, field)),
    ),
    '',
  ].join('\n')
}

function optionRow(name: string, field: Field<unknown>): string[] {
  const spellings = spelling(name, field).map((one) => `\`${one}\``)
  return [spellings.join(', '), fallback(field), field.help]
}

function keyRow(name: string, field: Field<unknown>): string[] {
  const [first, ...others] = [name, ...field.aliases]
  const spellings = [`\`${first}=${field.syntax}\``, ...others.map((one) => `\`${one}\``)]
  return [spellings.join(', '), fallback(field) || 'must be given', field.help]
}

function spelling(name: string, field: Field<unknown>): string[] {
  const all = [...(field.short ? [`-${field.short}`] : []), ...[name, ...field.aliases].map((one) => `--${one}`)]
  return field.syntax ? [...all.slice(0, -1), `${all.at(-1)} ${field.syntax}`] : all
}

function sentence(field: Field<unknown>): string {
  const standard = field.isFlag ? '' : fallback(field)
  return standard ? `${field.help} (default: ${standard})` : field.help
}

function fallback(field: Field<unknown>): string {
  if (field.fallbackText !== undefined) return field.fallbackText
  if (field.isList || field.fallback === undefined) return ''
  if (field.isFlag) return field.fallback ? 'on' : 'off'
  return `${field.fallback as string | number}`
}

function columns(lines: string[][]): string[] {
  const width = Math.max(...lines.map(([left]) => left!.length))
  return lines.map(([left, right]) => `  ${left!.padEnd(width)}  ${right}`)
}

function rows(head: string[], body: string[][]): string[] {
  return [head, head.map(() => '---'), ...body].map((cells) => `| ${cells.join(' | ')} |`)
}
