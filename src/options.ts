// Every option, said once. From this table come the type, the parser with its
// aliases, `--help`, the texts of errors and docs/options.md.
//
// Options go as an ordered list of (key, value, where) to `applySettings`: argv
// is one source of such a list, an object given to `uwshm.create` another;
// configuration files will be a third. The last value of a scalar wins; every
// value of a list adds one.

import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Address, writeAddress } from './address.ts'
import { UwsgiError } from './errors.ts'
import {
  address,
  argument,
  bytes,
  choice,
  count,
  type Field,
  flag,
  integer64,
  list,
  optional,
  real,
  statsAddress,
  text,
  word,
} from './fields.ts'
import { keyval, type Values, writeKeyval } from './keyval.ts'
import { nearest } from './nearest.ts'

const policies = ['none', 'lru', 'lru-strict', 'sieve'] as const

export const cache2 = keyval(
  'a cache shared by all processes',
  {
    name: text('name used by the API', { longest: 127 }),
    items: count('capacity, in items', { aliases: ['max_items', 'maxitems'], max: 2 ** 30 - 2 ** 18 }),
    blocksize: bytes('bytes of one block: the longest value, but for bitmap', { fallback: 65536, max: 2 ** 30 }),
    keysize: bytes('bytes of the longest key', { fallback: 2048, max: 65535, aliases: ['key_size'] }),
    hashsize: count('buckets', {
      max: 2 ** 30,
      aliases: ['hash_size'],
      fallback: 0,
      fallbackText: 'the power of two at or above items, at least 1024',
    }),
    blocks: count('number of blocks; with bitmap at least items, else equal to it', {
      max: 2 ** 30 - 2 ** 18,
      fallback: 0,
      fallbackText: 'items',
    }),
    bitmap: flag('a value takes as many blocks in a row as it needs, up to all of them'),
    hash: choice(
      'which chain a key goes to; keyed has a seed of its own at each start',
      ['keyed', 'djb33x', 'murmur2'],
      {
        fallback: 'keyed',
        instead: 'random, rand and rr choose anew at each call, so nothing that they store is found again',
      },
    ),
    purge_lru: flag('when it is full, the least recently used item goes; the same as policy=lru', { aliases: ['lru'] }),
    policy: choice('who goes when it is full: docs/cache.md tells which suits what', policies, {
      fallback: 'none',
      fallbackText: 'lru with purge_lru, else none',
    }),
    clear_on_full: flag('when it is full, all items go'),
    sweep_on_full: count('accepted for uWSGI: what has expired always makes room', {
      fallback: 0,
      min: 0,
      unit: 'SECONDS',
    }),
    ignore_full: flag('do not log that it is full'),
    lastmod: flag('keep the time of the last change, for last_modified_at in the statistics'),
    no_expire: flag('nobody sweeps it: what has expired makes room when it is full'),
    lazy_expire: flag('the same as no_expire', { aliases: ['lazy'] }),
    checksum: flag('every item carries one, and every read looks at it: what was scribbled over is a miss'),
    math_initial: integer64('what a counter is before its first operation', { fallback: 0n }),
    store: text('the file that it lives in: what it holds survives the end of all processes', {
      fallback: '',
      fallbackText: 'none',
      syntax: 'FILE',
    }),
    store_sync: count('seconds between two times that the store is written to the disk', {
      fallback: 0,
      fallbackText: '--cache-store-sync',
      min: 0,
      max: 86400,
      unit: 'SECONDS',
      aliases: ['storesync'],
    }),
    store_delete: flag('remove a store that cannot be used, instead of moving it aside', { aliases: ['storedelete'] }),
  },
  {
    example: 'name=pages,items=10000',
    later: ('node nodes sync udp udp_server ' + 'udp_servers udpserver udpservers').split(' '),
    settle(cache, where) {
      if (cache.items === undefined) return
      cache.hashsize ??= Math.max(1024, 2 ** Math.ceil(Math.log2(cache.items)))
      cache.blocks ??= cache.items
      if (cache.purge_lru) {
        cache.policy ??= 'lru'
        if (!cache.policy.startsWith('lru'))
          throw new UwsgiError(
            'OPTION_VALUE',
            `${where}: policy`,
            cache.policy,
            'possible with purge_lru: leave one out',
          )
      }
      if (cache.clear_on_full && (cache.policy ?? 'none') !== 'none')
        throw new UwsgiError(
          'OPTION_VALUE',
          `${where}: clear_on_full`,
          'on',
          `possible with policy=${cache.policy}: leave one out`,
        )
      const { items, blocks, bitmap, store = '' } = cache
      if (bitmap && store !== '')
        throw new UwsgiError('OPTION_VALUE', `${where}: store`, store, 'possible with bitmap=1: leave one out')
      if (bitmap ? blocks < items : blocks !== items)
        throw new UwsgiError(
          'OPTION_VALUE',
          `${where}: blocks`,
          blocks,
          bitmap ? `at least items (${items})` : `equal to items (${items}), or combined with bitmap=1`,
        )
    },
  },
)
const metricName = /^[\w.-]{1,191}$/

export const metric = keyval(
  'a metric: its name, or its keys; repeatable, and turns metrics on',
  {
    name: word('letters, digits, dots, dashes and _', metricName, 'a name of letters, digits, dots, dashes and _'),
    oid: word('digits and dots, below 1.3.6.1.4.1.35156.17', /^[\d.]{1,63}$/, 'digits and dots', {
      fallback: '',
      fallbackText: 'none',
      syntax: 'OID',
    }),
    type: choice('what it is', ['counter', 'gauge', 'absolute', 'alias'], { fallback: 'counter' }),
    initial_value: integer64('where it starts; added to what a collector finds', { fallback: 0n }),
    collector: text('what feeds it: manual, file, sum, avg, accumulator, adder, multiplier or func', {
      fallback: 'manual',
    }),
    freq: count('seconds between two looks of its collector', { fallback: 1, min: 0, max: 86400 }),
    arg1: text("file: its path; func: './module.ts:function'", { fallback: '', fallbackText: 'none', syntax: 'TEXT' }),
    arg2: text('kept for uWSGI; no collector asks for it', { fallback: '', fallbackText: 'none', syntax: 'TEXT' }),
    arg3: text('kept for uWSGI; no collector asks for it', { fallback: '', fallbackText: 'none', syntax: 'TEXT' }),
    arg1n: integer64('file: which word, from 0; adder: added; multiplier: the factor', { fallback: 0n }),
    arg2n: integer64('kept for uWSGI; no collector asks for it', { fallback: 0n }),
    arg3n: integer64('kept for uWSGI; no collector asks for it', { fallback: 0n }),
    scale: real('file: the word may have a fraction, and is multiplied by this', { fallback: 0, fallbackText: 'none' }),
    children: text('metrics that a collector works on, with ; between', {
      fallback: '',
      fallbackText: 'none',
      syntax: 'NAMES',
    }),
    alias: text('type=alias: the metric whose value it shows', { fallback: '', fallbackText: 'none' }),
    reset_after_push: flag('start again from initial_value once it was pushed'),
  },
  {
    example: 'name=orders,type=counter',
    bare: 'name',
    settle(metric, where) {
      if (metric.freq === 0) metric.freq = 1
      if ((metric.type === 'alias') !== Boolean(metric.alias))
        throw new UwsgiError('KEY_NEEDED', where, metric.alias ? 'type=alias' : 'alias', 'name=n,type=alias,alias=m')
    },
  },
)
export type MetricOptions = Values<typeof metric.fields>

const comparisons = ['ge', 'gt', 'le', 'lt', 'eq', 'ne'] as const
export type Comparison = (typeof comparisons)[number]

export const threshold = keyval(
  'raise an alarm when a metric reaches a value; repeatable, and turns metrics on',
  {
    key: word('name of the metric', metricName, 'a name of letters, digits, dots, dashes and _'),
    value: integer64('the value that is compared with'),
    op: choice('the metric is so: at least, above, at most, below, equal to, other than the value', comparisons, {
      fallback: 'ge',
    }),
    clear: optional(integer64('once raised it stays so until the metric is back at this value; then that is told')),
    alarm: text('which alarm is raised', { fallback: '', fallbackText: 'none' }),
    rate: count('seconds between two alarms', { fallback: 0, min: 0, max: 2 ** 31 - 1, unit: 'SECONDS' }),
    msg: text('what it says', { fallback: '', fallbackText: 'the name of the metric', syntax: 'TEXT' }),
    reset: optional(integer64('the metric is set to this when it has reached the value')),
  },
  {
    example: 'key=orders,value=100,alarm=web',
    aliases: ['metric-alarm', 'alarm-metric'],
    settle({ value, op = 'ge', clear = null }, where) {
      if (clear === null || value === undefined) return
      const isBelow = op === 'ge' ? clear < value : op === 'gt' && clear <= value
      const isAbove = op === 'le' ? clear > value : op === 'lt' && clear >= value
      if (isBelow || isAbove) return
      const expected = {
        ge: `below ${value}`,
        gt: `at most ${value}`,
        le: `above ${value}`,
        lt: `at least ${value}`,
        eq: `possible with op=${op}: leave it out`,
        ne: `possible with op=${op}: leave it out`,
      }
      throw new UwsgiError('OPTION_VALUE', `${where}: clear`, String(clear), expected[op])
    },
  },
)
export type ThresholdOptions = Values<typeof threshold.fields>

export type CacheOptions = Values<typeof cache2.fields>

export const table = {
  processes: count('number of workers', { fallback: 1, max: 1024, aliases: ['workers'], short: 'p' }),
  threads: count('cores of each worker: requests in flight that can be looked at', { fallback: 8, max: 4096 }),
  'http-socket': list(address('serve HTTP there; repeatable')),
  listen: count('connections that may wait at a socket', { fallback: 511, max: 65535, short: 'l' }),
  cache2: list(cache2),
  cache: count('make a cache named default, the first one, of so many items', {
    min: 0,
    max: 2 ** 30 - 2 ** 18,
    fallback: 0,
    fallbackText: 'none',
  }),
  'cache-blocksize': bytes('blocksize of --cache', { min: 0, fallback: 65536, max: 2 ** 30 }),
  'cache-store': text('store of --cache', { syntax: 'FILE' }),
  'cache-store-sync': count('store_sync of --cache, and of every other cache with a store that has none', {
    fallback: 0,
    fallbackText: 'when the kernel likes',
    min: 0,
    max: 86400,
    unit: 'SECONDS',
  }),
  'cache-use-last-modified': flag('lastmod of --cache'),
  'cache-no-expire': flag('no_expire of every cache'),
  'cache-expire-freq': count('seconds between two sweeps for what has expired', {
    fallback: 3,
    max: 86400,
    unit: 'SECONDS',
  }),
  'cache-report-freed-items': flag('log how many items had expired and made room'),
  'add-cache-item': list(
    text('store that at the start; in all caches if none is named; repeatable', { syntax: "'[CACHE ]KEY=VALUE'" }),
  ),
  'load-file-in-cache': list(
    text('store that file at the start, its path is the key; repeatable', { syntax: "'[CACHE ]FILE'" }),
  ),
  'load-file-in-cache-gzip': list(text('the same, compressed; repeatable', { syntax: "'[CACHE ]FILE'" })),
  stats: address('serve statistics there, as JSON', { aliases: ['stats-server'] }),
  'stats-http': flag('speak HTTP at the address of --stats'),
  'stats-min': flag('statistics without line ends and indentation', { aliases: ['stats-minified'] }),
  'stats-no-cores': flag('leave the cores out of the statistics'),
  'stats-no-metrics': flag('leave the metrics out of the statistics'),
  'stats-redact': list(text('a request header whose value the statistics hide, besides the usual secrets; repeatable')),
  'memory-report': flag('add uss and pss of each worker to the statistics', { short: 'm' }),
  'connect-and-read': statsAddress('print the statistics that are served there, and end'),
  'enable-metrics': flag('keep metrics'),
  metric: list(metric),
  'metrics-no-cores': flag('no metrics of single cores; turns metrics on'),
  'metrics-max': count('metrics that the application may define while it runs', { fallback: 1000, min: 0, max: 65536 }),
  'metrics-dir': text('write every metric to a file of its own there; turns metrics on', {
    syntax: 'DIRECTORY',
    aliases: ['metric-dir'],
  }),
  'metrics-dir-restore': flag('let counters go on from the files of --metrics-dir', {
    aliases: ['metric-dir-restore'],
  }),
  'metric-threshold': list(threshold),
  alarm: list(text('an alarm, see --alarm-list; repeatable', { syntax: "'NAME TYPE:ARGUMENT'" })),
  'alarm-list': flag('print the types of alarms, and end', { aliases: ['alarms-list'] }),
  'alarm-freq': count('seconds in which an alarm does not say the same thing twice', {
    fallback: 3,
    min: 0,
    max: 86400,
    unit: 'SECONDS',
  }),
  'alarm-msg-size': bytes('the longest message of an alarm; what is longer is cut', { fallback: 8192, max: 65536 }),
  'log-alarm': list(
    text('raise that alarm when a line of the log matches; repeatable', {
      syntax: "'ALARM[,ALARM] REGEXP'",
      aliases: ['alarm-log'],
    }),
  ),
  'not-log-alarm': list(
    text('do not, when the line matches this; repeatable', {
      syntax: "'ALARM[,ALARM] REGEXP'",
      aliases: ['not-alarm-log'],
    }),
  ),
  'alarm-fd': list(
    text('raise that alarm when the descriptor can be read, BYTES (1) at a time; repeatable', {
      syntax: "'ALARM FD[:BYTES] MESSAGE'",
    }),
  ),
  'alarm-backlog': list(
    text('raise that alarm while the queue of a socket is full; repeatable', {
      syntax: 'ALARM',
      aliases: ['backlog-alarm', 'lq-alarm', 'alarm-lq', 'alarm-listen-queue', 'listen-queue-alarm'],
    }),
  ),
  'alarm-segfault': list(
    text('raise that alarm when a worker dies of SIGSEGV, SIGBUS, SIGFPE or SIGILL; repeatable', {
      syntax: 'ALARM',
      aliases: ['segfault-alarm'],
    }),
  ),
  'alarm-cheap': flag('accepted for uWSGI: no alarm has a thread of its own'),
  chdir: text('change to this directory first', { syntax: 'DIRECTORY' }),
  'worker-reload-mercy': count('seconds that running requests get at the end', {
    fallback: 60,
    min: 0,
    max: 86400,
    unit: 'SECONDS',
  }),
  'max-processes': count('processes that may be attached at a time', {
    max: 65535,
    fallback: 0,
    fallbackText: '64, 128, 256 …: at least twice the workers',
  }),
  locks: count('user locks besides lock 0, numbered from 1', { fallback: 0, min: 0, max: 65535 }),
  'locks-max': count('user locks, numbered and named together', { fallback: 1024, max: 65536 }),
  'lock-alarm': count('warn of user locks held longer', {
    fallback: 0,
    fallbackText: 'only of those held by a stopped process',
    min: 0,
    max: 86400,
    unit: 'SECONDS',
  }),
  'lock-engine': text('engine of the locks: pthread, ipcsem, posixsem or futex', { fallback: 'pthread' }),
  ftok: text('ipcsem: an existing file that gives the semaphores their keys', { syntax: 'FILE' }),
  'persistent-ipcsem': flag('ipcsem: leave the semaphores at the end, for the next start with the same --ftok'),
  'thunder-lock': flag('accepted for uWSGI: the kernel wakes one worker per connection'),
  'node-arg': list(argument('an argument for the node of the workers; repeatable')),
  master: flag('accepted for uWSGI: there always is a master', { fallback: true, short: 'M' }),
  'die-on-term': flag('accepted for uWSGI: SIGTERM always stops', { fallback: true }),
  help: flag('print this text', { short: 'h' }),
  version: flag('print the version'),
} satisfies Record<string, Field<unknown>>

type Table = typeof table
type Camel<S> = S extends `${infer Head}-${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S
type Value<F> = F extends { isList: true; read(...args: never): infer T } ? T[] : F extends Field<infer T> ? T : never
/** Without a fallback, and no list: may be absent. */
type Absent = 'cache-store' | 'stats' | 'chdir' | 'connect-and-read' | 'metrics-dir' | 'ftok'

export type Options = {
  [K in Exclude<keyof Table, Absent> as Camel<K>]: Value<Table[K]>
} & { [K in Absent as Camel<K>]: Value<Table[K]> | undefined } & {
  /** The application's module; undefined where the caller is the application. */
  app: string | undefined
  /** What came after `--`: the application's own arguments. */
  appArguments: string[]
  written: WrittenOptions
}

/** The options as the operator wrote them, by the names used: a text, or true for a bare flag; a list where every value adds one. */
export type WrittenOptions = Record<string, string | true | string[]>

type SetOptions = Omit<Options, 'app' | 'appArguments' | 'written'>

/** What `uwshm.create` takes: everything may be left out; addresses and caches may be text. */
export type GivenOptions = {
  [K in Exclude<keyof Options, 'written'>]?: Given<Options[K]> | undefined
}
type Given<T> = [T] extends [CacheOptions[]]
  ? (string | GivenCache)[]
  : [T] extends [MetricOptions[]]
    ? (string | GivenMetric)[]
    : [T] extends [ThresholdOptions[]]
      ? (string | GivenThreshold)[]
      : [T] extends [Address[]]
        ? (string | Address)[]
        : [T] extends [Address | undefined]
          ? string | Address
          : T
type GivenThreshold = Pick<ThresholdOptions, 'key' | 'value'> & Partial<ThresholdOptions>
type GivenMetric = Pick<MetricOptions, 'name'> & Partial<MetricOptions>
type GivenCache = Pick<CacheOptions, 'name' | 'items'> & Partial<CacheOptions>

/** One value of one option; `where` says which, in errors. */
export interface Setting {
  key: string
  value: unknown
  where: string
}

const fields: Record<string, Field<unknown>> = table
const names = new Map<string, string>()
for (const [name, field] of Object.entries(fields))
  for (const alias of [name, camel(name), ...field.aliases]) names.set(alias, name)

/** uWSGI's options that people will try; they come later or never. */
const later = new Set(
  (
    'ini yaml json xml include strict pidfile daemonize logto harakiri max-requests cheaper lazy-apps uid gid ' +
    'sharedarea queue stats-push snmp ' +
    'reload-mercy touch-reload master-fifo reload-on-rss vacuum ' +
    'chmod-socket socket spooler mule cron ' +
    'cache-udp-server cache-udp-node cache-sync check-cache static-cache-paths static-cache-paths-name ' +
    'ssl-sessions-use-cache'
  ).split(' '),
)

export function parseOptions(argv: readonly string[]): Options {
  const { settings, app, appArguments } = readArgv(argv)
  return { ...applySettings(settings), app, appArguments, written: writtenBy(settings) }
}

/** Fills in and checks what was given to `uwshm.create`. */
export function completeOptions(given: GivenOptions = {}): Options {
  const { app, appArguments = [], ...rest } = given
  const settings = Object.entries(rest).flatMap(([key, value]) => {
    const values = Array.isArray(value) ? value : [value]
    return values.filter((one) => one !== undefined).map((one) => ({ key, value: one, where: key }))
  })
  return { ...applySettings(settings), app, appArguments, written: writtenBy(settings) }
}

function readArgv(argv: readonly string[]) {
  const settings: Setting[] = []
  const appArguments: string[] = []
  let app: string | undefined
  let isAfterDashes = false
  for (const token of parseArgs({ args: [...argv], options: forNode(), strict: false, tokens: true }).tokens) {
    if (token.kind === 'option-terminator') isAfterDashes = true
    else if (token.kind === 'option') settings.push(setting(token.name, token.rawName, token.value, token.inlineValue))
    else if (isAfterDashes) appArguments.push(token.value)
    else if (app === undefined) app = token.value
    else throw new UwsgiError('APP_TWICE', app, token.value)
  }
  return { settings, app, appArguments }
}

/** The table as node:util wants it, to tell values from the application's name. */
function forNode() {
  const options: Record<string, { type: 'boolean' | 'string'; short?: string }> = {}
  for (const [name, { isFlag, short, aliases }] of Object.entries(fields)) {
    const type = isFlag ? 'boolean' : 'string'
    options[name] = { type, ...(short && { short }) }
    for (const alias of aliases) options[alias] = { type }
  }
  return options
}

function setting(key: string, where: string, value: string | undefined, isInline: boolean | undefined): Setting {
  const field = fields[known(key, where)]!
  // `--stats --processes 2`: the next option is no value of this one.
  const isForgotten = value === undefined || (!isInline && value.startsWith('-') && !field.takesDashes)
  if (isForgotten && !field.isFlag) throw new UwsgiError('OPTION_NEEDS_VALUE', where, `${where} ${field.syntax}`)
  return { key, value: value ?? '', where }
}

function known(key: string, where: string): string {
  const name = names.get(key)
  if (name !== undefined) return name
  if (later.has(key)) throw new UwsgiError('OPTION_LATER', where)
  const written = [...names.keys()].filter((known) => known === known.toLowerCase())
  const meant = where.startsWith('-') && !where.startsWith('--') ? null : nearest(key, written)
  throw new UwsgiError('OPTION_UNKNOWN', where, meant ? `did you mean --${meant}?` : '`uwshm --help` lists them')
}

export function applySettings(settings: readonly Setting[]): SetOptions {
  const values: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(fields)) values[camel(name)] = field.isList ? [] : field.fallback
  for (const { key, value, where } of settings) {
    const name = known(key, where)
    const field = fields[name]!
    const result = field.read(value, where)
    if (field.isList) (values[camel(name)] as unknown[]).push(result)
    else values[camel(name)] = result
  }
  return settle(values as SetOptions)
}

function writtenBy(settings: readonly Setting[]): WrittenOptions {
  const all: WrittenOptions = {}
  for (const { key, value, where } of settings) {
    const text = written(value)
    const before = all[key] as string[] | undefined
    all[key] = fields[known(key, where)]!.isList ? [...(before ?? []), String(text)] : text
  }
  return all
}

/** How an operator writes a value that was given to `uwshm.create`. */
function written(value: unknown): string | true {
  if (value === '' || value === true) return true
  if (typeof value !== 'object' || value === null) return String(value)
  return 'kind' in value ? writeAddress(value as Address) : writeKeyval(value)
}

const mostCores = 2 ** 16

/** Fills in what depends on other options, and checks what one alone cannot. */
function settle<O extends SetOptions>(options: O): O {
  const { processes, cache2: caches } = options
  if (options.cache > 0) {
    const { cache: items, cacheBlocksize, cacheUseLastModified: lastmod, cacheStore: store } = options
    // To uWSGI, too, a block of 0 bytes is one of the usual size.
    const blocksize = cacheBlocksize || 65536
    caches.unshift(cache2.read({ name: 'default', items, blocksize, lastmod, store }, '--cache'))
  } else if (options.cacheStore !== undefined)
    throw new UwsgiError('OPTION_VALUE', '--cache-store', options.cacheStore, 'possible without --cache N')
  for (const cache of caches) {
    cache.no_expire ||= options.cacheNoExpire
    cache.store_sync ||= options.cacheStoreSync
  }
  const { metric, metricThreshold, metricsNoCores, metricsDir } = options
  if (metric.length > 0 || metricThreshold.length > 0 || metricsNoCores || metricsDir !== undefined)
    options.enableMetrics = true
  if (options.metricsDirRestore && options.metricsDir === undefined)
    throw new UwsgiError('OPTION_VALUE', '--metrics-dir-restore', 'on', 'possible without --metrics-dir DIRECTORY')
  // In large steps, for a store is made for so many: one more worker must not cost its contents.
  if (options.maxProcesses === 0) options.maxProcesses = 2 ** Math.ceil(Math.log2(Math.max(64, 2 * processes)))
  if (options.maxProcesses <= processes)
    throw new UwsgiError('OPTION_VALUE', '--max-processes', options.maxProcesses, `above the ${processes} workers`)
  // Every core is a row of the statistics: a quarter of a kilobyte, ten times a second.
  if (processes * options.threads > mostCores)
    throw new UwsgiError(
      'OPTION_VALUE',
      '--threads',
      options.threads,
      `at most ${Math.floor(mostCores / processes)} with ${processes} workers`,
    )
  if (options.locksMax <= options.locks)
    throw new UwsgiError('OPTION_VALUE', '--locks-max', options.locksMax, `above --locks (${options.locks})`)
  if (options.persistentIpcsem && options.ftok === undefined)
    throw new UwsgiError('OPTION_VALUE', '--persistent-ipcsem', 'on', 'possible without --ftok')
  if (!options.master) throw new UwsgiError('OPTION_VALUE', '--master', 'off', 'possible: there always is a master')
  if (!options.dieOnTerm) throw new UwsgiError('OPTION_VALUE', '--die-on-term', 'off', 'possible: SIGTERM always stops')
  const seen = new Set<string>()
  const stores = new Map<string, string>()
  for (const { name, store } of caches) {
    if (seen.has(name)) throw new UwsgiError('CACHE_TWICE', name)
    seen.add(name)
    if (store === '') continue
    // Two spellings of one path are one file.
    const file = resolve(options.chdir ?? '', store)
    if (stores.has(file)) throw new UwsgiError('STORE_TWICE', stores.get(file), name, store)
    stores.set(file, name)
  }
  return options
}

function camel(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
}
