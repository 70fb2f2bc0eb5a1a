// What an option can hold, and what a key of a key-value option can hold: the
// same few kinds. A field reads text (argv, later files) as well as the value
// itself (from `uwshm.create`), and says in one sentence what it expected.

import { type Address, readAddress } from './address.ts'
import { UwsgiError } from './errors.ts'

export interface Field<T> {
  help: string
  /** How its value is written, for the help: `N`, `BYTES`. Empty for a flag. */
  syntax: string
  aliases: readonly string[]
  /** Undefined: the option must be given, unless it is a list. */
  fallback: T | undefined
  /** The fallback in words, where it is computed from other values. */
  fallbackText?: string
  /** `where` is the subject of the error: `--processes`, `--cache2: items`. */
  read(value: unknown, where: string): T
  /** A value that begins with a dash is a value here, not a forgotten one. */
  takesDashes?: true
  isFlag?: true
  isList?: true
  short?: string
}

/** What the types below leave to be said about one field. */
export interface Says<T> {
  fallback?: T
  fallbackText?: string
  aliases?: readonly string[]
  short?: string
}

function field<T>(
  help: string,
  says: Says<T>,
  syntax: string,
  expected: string,
  read: (value: unknown) => T | undefined,
): Field<T> {
  return {
    aliases: [],
    fallback: undefined,
    ...says,
    help,
    syntax,
    read(value, where) {
      const result = read(value)
      if (result !== undefined) return result
      throw new UwsgiError('OPTION_VALUE', where, inQuotes(value), expected)
    },
  }
}

function inQuotes(value: unknown): string {
  return typeof value === 'string' ? `'${value.replace(/^\0/, '@')}'` : String(value)
}

/** A whole number. uWSGI takes leading digits and drops the rest; we refuse. */
export function count(help: string, says: Says<number> & { min?: number; max?: number; unit?: string } = {}) {
  const { min = 1, max = 2 ** 31 - 1, unit = 'N', ...rest } = says
  const expected = `a whole number from ${min} to ${max}`
  return field(help, rest, unit, expected, (value) => {
    const number = typeof value === 'string' ? (/^\d+$/.test(value) ? Number(value) : NaN) : value
    return isWhole(number, min, max) ? number : undefined
  })
}

/** A whole number of 64 bits, signed. */
export function integer64(help: string, says: Says<bigint> = {}): Field<bigint> {
  return field(help, says, 'N', 'a whole number from -2^63 to 2^63-1', (value) => {
    if (typeof value !== 'bigint' && !/^-?\d+$/.test(String(value))) return undefined
    const number = BigInt(value as bigint | string)
    return number === BigInt.asIntN(64, number) ? number : undefined
  })
}

const units = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 } as Record<string, number>

/** A size: bytes, or with k, m, g. To uWSGI `64k` is 64. */
export function bytes(help: string, says: Says<number> & { min?: number; max?: number } = {}) {
  const { min = 1, max = 2 ** 32 - 1, ...rest } = says
  const expected = `a size from ${min} to ${max} bytes (64k, 16m and 1g are understood)`
  return field(help, rest, 'BYTES', expected, (value) => {
    const [, digits, unit] = /^(\d+)([kmg]?)b?$/i.exec(String(value)) ?? []
    const size = typeof value === 'string' ? Number(digits) * units[unit?.toLowerCase() ?? '']! : value
    return isWhole(size, min, max) ? size : undefined
  })
}

function isWhole(value: unknown, min: number, max: number): value is number {
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max
}

export function text(help: string, says: Says<string> & { syntax?: string; longest?: number } = {}) {
  const { syntax = 'NAME', longest = Infinity, ...rest } = says
  const expected = `a text of 1 to ${longest} bytes`
  return field(help, rest, syntax, expected, (value) => {
    const fits = typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= longest
    return fits && !value.includes('\0') ? value : undefined
  })
}

/** A text made of certain characters only. */
export function word(help: string, pattern: RegExp, expected: string, says: Says<string> & { syntax?: string } = {}) {
  const { syntax = 'NAME', ...rest } = says
  return field(help, rest, syntax, expected, (value) => {
    return typeof value === 'string' && pattern.test(value) ? value : undefined
  })
}

/** A field that may be left out, and is null then. */
export function optional<T>(one: Field<T>): Field<T | null> {
  return { ...one, fallback: null, fallbackText: 'none' }
}

/** Any number, fractions too. */
export function real(help: string, says: Says<number> = {}): Field<number> {
  return field(help, says, 'X', 'a number', (value) => {
    const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
    return typeof number === 'number' && Number.isFinite(number) ? number : undefined
  })
}

/** One of a few words. */
export function choice<const W extends string>(
  help: string,
  words: readonly W[],
  { instead, ...says }: Says<W> & { instead?: string } = {},
): Field<W> {
  const expected = `one of ${words.join(', ')}${instead ? `; ${instead}` : ''}`
  return field(help, says, words.join('|'), expected, (value) => words.find((word) => word === value))
}

/** On or off. uWSGI reads `flag=0` as on in key-values; we do not (docs/differences.md). */
export function flag(help: string, says: Says<boolean> = {}): Field<boolean> {
  const read = (value: unknown) => {
    if (typeof value === 'boolean') return value
    if (/^(1|true|yes|on|)$/i.test(String(value))) return true
    return /^(0|false|no|off)$/i.test(String(value)) ? false : undefined
  }
  return {
    ...field(help, { fallback: false, ...says }, '', 'on or off (1, true, yes; 0, false, no)', read),
    isFlag: true,
  }
}

export function address(help: string, says: Says<Address> = {}): Field<Address> {
  const expected = 'an address: host:port, :port, a unix path or @name'
  return field(help, says, 'ADDRESS', expected, (value) => {
    return (typeof value === 'string' ? readAddress(value) : (value as Address)) ?? undefined
  })
}

/** Where statistics are to be had: an address, or a URL. */
export function statsAddress(help: string, says: Says<string> = {}): Field<string> {
  const expected = 'an address: host:port, :port, a unix path, @name or http://host:port/'
  return field(help, says, 'ADDRESS', expected, (value) => {
    if (typeof value !== 'string') return undefined
    if (value.includes('://')) return value.startsWith('http://') && URL.canParse(value) ? value : undefined
    return readAddress(value) === null ? undefined : value
  })
}

/** An argument for another program: it may begin with a dash. */
export function argument(help: string, says: Says<string> = {}): Field<string> {
  return { ...text(help, { ...says, syntax: 'ARG' }), takesDashes: true }
}

/** Every occurrence adds one. */
export function list<T>(one: Field<T>): Omit<Field<T>, 'isList'> & { isList: true } {
  return { ...one, isList: true }
}
