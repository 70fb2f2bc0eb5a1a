// uWSGI's key-value syntax: `name=pages,items=10000`. A backslash keeps what
// follows as it is: `name=a\,b`. A key without `=` is a flag. If a key is repeated
// the last one wins.
//
// Unlike uWSGI, which drops silently what it does not know, we refuse it.

import { UwsgiError } from './errors.ts'
import type { Field, Says } from './fields.ts'
import { nearest } from './nearest.ts'

export type Fields = Record<string, Field<unknown>>
export type Values<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer T> ? T : never }

export interface KeyVal<F extends Fields> extends Field<Values<F>> {
  fields: F
}

export interface KeyValSays<F extends Fields> extends Says<never> {
  example: string
  /** A value without any `=` is this key's. */
  bare?: string
  /** uWSGI's keys that are not built here yet. */
  later?: readonly string[]
  /** Fills in what depends on other keys, and checks what one key alone cannot. */
  settle?: (values: Partial<Values<F>>, where: string) => void
}

export function keyval<F extends Fields>(help: string, fields: F, says: KeyValSays<F>): KeyVal<F> {
  const { example, bare, later = [], settle, ...rest } = says
  const names = new Map<string, string>()
  for (const [name, field] of Object.entries(fields))
    for (const alias of [name, ...field.aliases]) names.set(alias, name)

  function read(value: unknown, where: string): Values<F> {
    const values: Record<string, unknown> = {}
    for (const [key, given] of pairs(value, bare)) {
      const name = names.get(key)
      if (name === undefined) throw unknown(key, where)
      const field = fields[name]!
      if (given === undefined && !field.isFlag)
        throw new UwsgiError('OPTION_NEEDS_VALUE', `${where}: ${key}`, `${key}=${field.syntax}`)
      values[name] = field.read(given ?? '', `${where}: ${key}`)
    }
    settle?.(values as Partial<Values<F>>, where)
    for (const [name, field] of Object.entries(fields)) {
      values[name] ??= field.fallback
      if (values[name] === undefined) throw new UwsgiError('KEY_NEEDED', where, name, example)
    }
    return values as Values<F>
  }

  function unknown(key: string, where: string): UwsgiError {
    if (later.includes(key)) return new UwsgiError('KEY_LATER', where, key)
    const meant = nearest(key, names.keys())
    const hint = meant === null ? `known: ${Object.keys(fields).join(', ')}` : `did you mean ${meant}?`
    return new UwsgiError('KEY_UNKNOWN', where, key, hint)
  }

  return { aliases: [], fallback: undefined, ...rest, help, syntax: 'KEYVAL', fields, read }
}

/** Text in uWSGI's syntax, or an object with the same keys. */
function pairs(value: unknown, bare?: string): [key: string, value: unknown][] {
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).filter(([, given]) => given !== undefined)
  if (bare !== undefined && !String(value).includes('=')) return [[bare, value]]
  return splitAtCommas(String(value)).map((word) => {
    const equals = word.indexOf('=')
    return equals < 0 ? [word, undefined] : [word.slice(0, equals).trim(), unescaped(word.slice(equals + 1))]
  })
}

function splitAtCommas(text: string): string[] {
  return (text.match(/(\\.|[^,])+/gs) ?? []).map((word) => word.trim())
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/gs, '$1')
}

export function writeKeyval(values: object): string {
  const words = Object.entries(values).filter(([, given]) => given !== undefined)
  return words.map(([key, given]) => `${key}=${String(given).replace(/[\\,]/g, '\\$&')}`).join(',')
}
