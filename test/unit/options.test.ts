// Options: what is taken, what is refused, and with which words.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { UwsgiError } from '../../src/errors.ts'
import { helpText, optionsPage } from '../../src/help.ts'
import { cache2, completeOptions, parseOptions, table } from '../../src/options.ts'

const parse = (line: string) => parseOptions(line.split(' ').filter(Boolean))

const parse2 = (keys: string) => parseOptions(['--cache2', keys]).cache2[0]

function refusal(line: string): string {
  try {
    parse(line)
  } catch (error) {
    assert.ok(error instanceof UwsgiError, String(error))
    return error.message
  }
  assert.fail(`${line} was taken`)
}

test('a line as uWSGI users write it is understood, the application anywhere on it', () => {
  const line = '--master --workers 2 --cache2 name=default,items=100 --stats 127.0.0.1:9191'
  for (const whole of [`app.ts ${line}`, `${line} app.ts`, line.replace('--cache2', 'app.ts --cache2')]) {
    const { app, processes, cache2, stats } = parse(whole)
    assert.equal(app, 'app.ts')
    assert.equal(processes, 2)
    assert.deepEqual(stats, { kind: 'tcp', host: '127.0.0.1', port: 9191 })
    const [cache] = cache2
    assert.deepEqual(
      { ...cache },
      {
        name: 'default',
        items: 100,
        blocksize: 65536,
        keysize: 2048,
        hashsize: 1024,
        blocks: 100,
        hash: 'keyed',
        bitmap: false,
        purge_lru: false,
        policy: 'none',
        clear_on_full: false,
        sweep_on_full: 0,
        ignore_full: false,
        lastmod: false,
        no_expire: false,
        lazy_expire: false,
        checksum: false,
        math_initial: 0n,
        store: '',
        store_sync: 0,
        store_delete: false,
      },
    )
  }
})

test('every spelling of an option is the same option', () => {
  for (const line of ['--processes 3', '--processes=3', '--workers 3', '-p 3', '-p3', '-Mp3'])
    assert.equal(parse(line).processes, 3, line)
  assert.deepEqual(parse('--stats-server :1').stats, parse('--stats :1').stats)
})

test('the last value of a scalar wins, every value of a list adds one', () => {
  const options = parse('-p 2 --workers 4 --http-socket :1 --http-socket @two --http-socket ./three.sock')
  assert.equal(options.processes, 4)
  assert.deepEqual(options.httpSocket, [
    { kind: 'tcp', host: '', port: 1 },
    { kind: 'unix', path: '\0two' },
    { kind: 'unix', path: './three.sock' },
  ])
})

test('what comes after -- belongs to the application', () => {
  const { app, appArguments, processes } = parse('-p 2 app.ts -- --port 3 -p 9')
  assert.deepEqual(
    { app, appArguments, processes },
    { app: 'app.ts', appArguments: ['--port', '3', '-p', '9'], processes: 2 },
  )
})

test('an argument for node may begin with a dash', () => {
  assert.deepEqual(parse('--node-arg --inspect --node-arg=--max-old-space-size=64').nodeArg, [
    '--inspect',
    '--max-old-space-size=64',
  ])
})

test('sizes take k, m and g; keys have the aliases of uWSGI', () => {
  const [cache] = parse('--cache2 name=a,maxitems=3000,blocksize=64k,key_size=1k,hash_size=7').cache2
  assert.equal(cache?.blocksize, 65536)
  assert.equal(cache?.keysize, 1024)
  assert.equal(cache?.items, 3000)
  assert.equal(cache?.hashsize, 7)
  assert.equal(parse('--cache2 name=a,items=3000').cache2[0]?.hashsize, 4096)
  assert.equal(parse('--cache2 name=a,items=4096').cache2[0]?.hashsize, 4096)
})

test('every alias of a key is that key, and blanks around a word are dropped', () => {
  const both = 'name=a,items=5,store=f,store_sync=9,store_delete=1,lazy_expire=1'
  const other = 'name=a , max_items=5,store=f,storesync=9,storedelete=1,lazy=1'
  assert.deepEqual(parse2(other), parse2(both))
  assert.equal(parse2(both)!.store_delete, true)
})

test('a backslash keeps a comma, and the last of a repeated key wins', () => {
  const [cache] = parse('--cache2 name=x,items=1,name=a\\,b,items=5,blocks=5').cache2
  assert.equal(cache?.name, 'a,b')
  assert.equal(cache?.items, 5)
})

test('any text is kept as a name when its commas are escaped', () => {
  const name = fc.string({ minLength: 1, maxLength: 40 }).filter((one) => one === one.trim() && !/[\0\\]/.test(one))
  fc.assert(
    fc.property(name, (name) => {
      const [cache] = parseOptions(['--cache2', `items=1,name=${name.replaceAll(',', '\\,')}`]).cache2
      assert.equal(cache?.name, name)
    }),
  )
})

test('no line whatever makes the parser fail with anything but a sentence', () => {
  const known = Object.keys(table).map((name) => `--${name}`)
  const word = fc.oneof(fc.constantFrom(...known, '-p', '-M', '--', 'name=a,items=1', '3', '-'), fc.string())
  fc.assert(
    fc.property(fc.array(word), (argv) => {
      try {
        parseOptions(argv)
      } catch (error) {
        assert.ok(error instanceof UwsgiError, String(error))
        assert.ok(!error.message.includes('undefined') || argv.join().includes('undefined'), error.message)
      }
    }),
  )
})

test('--cache and its kin are a --cache2 named default, before all others', () => {
  const line = '--cache2 name=a,items=1 --cache-blocksize 1k --cache 50 --cache-use-last-modified --cache-no-expire'
  const [first, second] = parse(line).cache2
  assert.deepEqual(
    { ...first },
    { ...parse('--cache2 name=default,items=50,blocksize=1k,lastmod=1,no_expire=1').cache2[0] },
  )
  assert.equal(second?.no_expire, true)
  assert.equal(second?.lastmod, false)
  assert.equal(parse('--cache 5 --cache-blocksize 0').cache2[0]?.blocksize, 65536)
  assert.deepEqual(parse('--cache 0 --cache-blocksize 1k').cache2, [])
})

test('--cache-store-sync is for every cache that has no store_sync of its own', () => {
  const caches = '--cache 5 --cache2 name=a,items=1 --cache2 name=b,items=1,store_sync=9'
  assert.deepEqual(
    parse(`${caches} --cache-store-sync 4`).cache2.map(({ store_sync }) => store_sync),
    [4, 4, 9],
  )
})

test('math_initial is any signed number of 64 bits', () => {
  const initial = (text: string) => parse(`--cache2 name=a,items=1,math_initial=${text}`).cache2[0]!.math_initial
  assert.equal(initial('-9223372036854775808'), -(2n ** 63n))
  assert.equal(initial('9223372036854775807'), 2n ** 63n - 1n)
  const [cache] = completeOptions({ cache2: [{ name: 'a', items: 1, math_initial: 5 as never }] }).cache2
  assert.equal(cache!.math_initial, 5n)
})

test('what is wrong is named, with the way out', () => {
  const sentences = {
    '--prcesses 3': 'unknown option --prcesses; did you mean --processes?',
    '--quite-unheard-of': 'unknown option --quite-unheard-of; `uwshm --help` lists them',
    '-Z': 'unknown option -Z; `uwshm --help` lists them',
    '--harakiri 3': '--harakiri is an option of uWSGI that is not built here yet; leave it out',
    '-p': '-p needs a value: -p N',
    '--stats --workers 2': '--stats needs a value: --stats ADDRESS',
    '-p two': "-p: 'two' is not a whole number from 1 to 1024",
    '-p 4k': "-p: '4k' is not a whole number from 1 to 1024",
    '-p 0': "-p: '0' is not a whole number from 1 to 1024",
    '--workers=-1': "--workers: '-1' is not a whole number from 1 to 1024",
    '--http-socket 8080': "--http-socket: '8080' is not an address: host:port, :port, a unix path or @name",
    '--http-socket :70000': "--http-socket: ':70000' is not an address: host:port, :port, a unix path or @name",
    '--cache2 items=3': '--cache2: name is missing; write it like name=pages,items=10000',
    '--cache2 name=a': '--cache2: items is missing; write it like name=pages,items=10000',
    '--cache2 name=a,itms=4': '--cache2: unknown key itms; did you mean items?',
    '--cache2 name=a,items': '--cache2: items needs a value: items=N',
    '--cache2 name=,items=1': "--cache2: name: '' is not a text of 1 to 127 bytes",
    '-p 100 --threads 1000': '--threads: 1000 is not at most 655 with 100 workers',
    '--locks 5 --locks-max 5': '--locks-max: 5 is not above --locks (5)',
    '--cache2 name=a,items=5,blocks=6': '--cache2: blocks: 6 is not equal to items (5), or combined with bitmap=1',
    '--cache2 name=a,items=5,bitmap=1,blocks=4': '--cache2: blocks: 4 is not at least items (5)',
    '--cache2 name=a,items=5,bitmap=1,store=f': '--cache2: store: f is not possible with bitmap=1: leave one out',
    '--cache2 name=a,items=5,keysize=64k':
      "--cache2: keysize: '64k' is not a size from 1 to 65535 bytes (64k, 16m and 1g are understood)",
    '--cache2 name=a,items=5,hash=rr':
      "--cache2: hash: 'rr' is not one of keyed, djb33x, murmur2; random, rand and rr choose anew at each call, so nothing that they store is found again",
    '--cache2 name=a,items=5,math_initial=9223372036854775808':
      "--cache2: math_initial: '9223372036854775808' is not a whole number from -2^63 to 2^63-1",
    '--cache2 name=a,items=1 --cache2 name=a,items=2': 'two caches are named a; give each its own name',
    '--cache 5 --cache2 name=default,items=2': 'two caches are named default; give each its own name',
    '--cache many': "--cache: 'many' is not a whole number from 0 to 1073479680",
    '--max-processes 3 -p 3': '--max-processes: 3 is not above the 3 workers',
    '--master=no': '--master: off is not possible: there always is a master',
    '--cache2 name=a,max-items=5': '--cache2: unknown key max-items; did you mean max_items?',
    '--cache2 name=a,items=5,keysize=65536':
      "--cache2: keysize: '65536' is not a size from 1 to 65535 bytes (64k, 16m and 1g are understood)",
    '--cache2 name=a,items=5,hashsize=2147483648':
      "--cache2: hashsize: '2147483648' is not a whole number from 1 to 1073741824",
    '--cache-expire-freq 0': "--cache-expire-freq: '0' is not a whole number from 1 to 86400",
    '--cache-store f': '--cache-store: f is not possible without --cache N',
    '--cache2 name=a,items=1,store=/x/f --cache2 name=b,items=1,store=/x/./f':
      'caches a and b have one store, /x/./f; give each its own file',
    '--chdir /x --cache 1 --cache-store /x/f --cache2 name=b,items=1,store=f':
      'caches default and b have one store, f; give each its own file',
    'a.ts b.ts': 'one application at a time, not a.ts and b.ts; arguments for the application come after --',
  }
  for (const [line, sentence] of Object.entries(sentences)) assert.equal(refusal(line), sentence)
})

test('the numbers of a cache have their limits', () => {
  assert.equal(parse2(`name=${'n'.repeat(127)},items=5,keysize=65535`)!.keysize, 65535)
  assert.match(refusal(`--cache2 items=5,name=${'n'.repeat(128)}`), /' is not a text of 1 to 127 bytes$/)
  for (const key of ['items', 'blocksize', 'blocks', 'hashsize', 'keysize'])
    assert.match(refusal(`--cache2 name=a,items=5,${key}=0`), new RegExp(`--cache2: ${key}: '0' is not a \\w+`), key)
  for (const key of ['items', 'blocks', 'hashsize'])
    assert.match(refusal(`--cache2 name=a,items=5,${key}=4294967296`), /'4294967296' is not a whole number/, key)
})

test("uWSGI's options and keys of caches that are not built here yet are told apart from misspelt ones", () => {
  const late = 'is an option of uWSGI that is not built here yet; leave it out'
  for (const kin of ['udp-server', 'udp-node', 'sync'])
    assert.equal(refusal(`--cache-${kin} x`), `--cache-${kin} ${late}`)
  for (const option of ['check-cache', 'static-cache-paths', 'static-cache-paths-name', 'ssl-sessions-use-cache'])
    assert.equal(refusal(`--${option}=x`), `--${option} ${late}`)
  for (const key of 'node nodes sync udp udp_server udp_servers udpserver udpservers'.split(' '))
    assert.equal(
      refusal(`--cache2 name=a,items=5,${key}=x`),
      `--cache2: ${key} is a key of uWSGI that is not built here yet; leave it out`,
    )
})

test('uwshm.create takes the same options as an object', () => {
  const options = completeOptions({
    processes: 2,
    maxProcesses: 20,
    stats: '@stats',
    cache2: ['name=text,items=5', { name: 'object', items: 10, blocksize: 128 }],
  })
  assert.equal(options.maxProcesses, 20)
  assert.deepEqual(options.stats, { kind: 'unix', path: '\0stats' })
  assert.deepEqual(
    options.cache2.map(({ name, items, blocksize, hashsize }) => [name, items, blocksize, hashsize]),
    [
      ['text', 5, 65536, 1024],
      ['object', 10, 128, 1024],
    ],
  )
  assert.throws(() => completeOptions({ processes: 1.5 }), /processes: 1.5 is not a whole number/)
  assert.throws(() => completeOptions({ procesess: 1 } as object), /did you mean --processes/)
  assert.throws(() => completeOptions({ cache2: [{ name: 'a', items: 1, udp: 'f' } as never] }), /udp/)
})

test('--help names every option and every key', () => {
  const help = helpText()
  for (const name of Object.keys(table)) assert.match(help, new RegExp(`--${name}\\b`))
  for (const name of Object.keys(cache2.fields)) assert.match(help, new RegExp(`^  ${name}=`, 'm'))
})

test('docs/options.md is what the table says', () => {
  const page = readFileSync(new URL('../../docs/options.md', import.meta.url), 'utf8')
  assert.equal(page, optionsPage(), 'run: node --import tsx docs/generate.ts')
})

test('options are kept as they were written, by the names used', () => {
  assert.deepEqual(parse('--workers 3 -p 4 -M --stats=:1 --cache2 name=a,items=1 --cache2 name=b,items=2').written, {
    workers: '3',
    processes: '4',
    master: true,
    stats: ':1',
    cache2: ['name=a,items=1', 'name=b,items=2'],
  })
  const given = { cache2: [{ name: 'a,b', items: 1 }, 'name=c,items=1'], stats: { kind: 'unix', path: '\0s' } } as const
  assert.deepEqual(completeOptions({ ...given, cache2: [...given.cache2], master: true, listen: 5 }).written, {
    cache2: ['name=a\\,b,items=1', 'name=c,items=1'],
    stats: '@s',
    master: true,
    listen: '5',
  })
})

test('what is accepted for uWSGI cannot be turned off', () => {
  assert.equal(parse('--die-on-term').dieOnTerm, true)
  assert.throws(() => parse('--die-on-term=0'), /--die-on-term: off is not possible: SIGTERM always stops/)
})

test('a policy is one of those there are, and purge_lru is the name that uWSGI has for one', () => {
  const policyOf = (keys: string) => parse(`--cache2 name=c,items=1,${keys}`).cache2[0]!.policy
  assert.equal(policyOf('keysize=8'), 'none')
  assert.equal(policyOf('purge_lru=1'), 'lru')
  assert.equal(policyOf('lru'), 'lru')
  assert.equal(policyOf('purge_lru=0'), 'none')
  assert.equal(policyOf('lru=1,policy=lru-strict'), 'lru-strict')
  assert.equal(policyOf('policy=sieve'), 'sieve')
  assert.match(
    refusal('--cache2 name=c,items=1,policy=lfu'),
    /policy: 'lfu' is not one of none, lru, lru-strict, sieve$/,
  )
  assert.match(
    refusal('--cache2 name=c,items=1,lru=1,policy=sieve'),
    /policy: sieve is not possible with purge_lru: leave one out$/,
  )
  assert.match(
    refusal('--cache2 name=c,items=1,lru=1,clear_on_full'),
    /clear_on_full: on is not possible with policy=lru: leave one out$/,
  )
  assert.equal(
    parse('--cache2 name=c,items=1,clear_on_full,sweep_on_full=5,ignore_full').cache2[0]!.clear_on_full,
    true,
  )
})
