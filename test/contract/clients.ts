// What the programs that read uWSGI's statistics need of them, found by reading
// those programs: which field, of which kind, and what becomes of the program
// where it is missing. Our document must satisfy each of them in every state.

import assert from 'node:assert/strict'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Kinds of values. All numbers are whole: two of the clients are written in Go and give up on the whole document otherwise. */
const kinds: Record<string, (value: Json) => boolean> = {
  count: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  signed: (value) => Number.isSafeInteger(value),
  positive: (value) => Number.isSafeInteger(value) && (value as number) > 0,
  flag: (value) => value === 0 || value === 1,
  text: (value) => typeof value === 'string',
  status: (value) => typeof value === 'string' && /^(idle|busy|pause|cheap|sig\d+)$/.test(value),
  list: (value) => Array.isArray(value),
}

interface Need {
  /** `workers[].cores[].id`: of every core of every worker. */
  fields: string
  kind: keyof typeof kinds
  otherwise: string
}

const need = (kind: keyof typeof kinds, fields: string, otherwise: string): Need => ({ fields, kind, otherwise })

const goTypes = 'the whole document is refused'

export const clients: Record<string, Need[]> = {
  uwsgitop: [
    need('text', 'version cwd', 'the head of the screen fails'),
    need('count', 'uid gid', 'the head of the screen fails'),
    need('positive', 'pid', 'the head of the screen fails'),
    need('count', 'listen_queue', 'shows 0'),
    need('list', 'workers', 'an empty screen'),
    need('positive', 'workers[].id', 'it ends'),
    need('count', 'workers[].requests workers[].tx workers[].running_time workers[].last_spawn', 'it ends'),
    need('status', 'workers[].status', 'it ends'),
    need('count', 'workers[].pid workers[].exceptions workers[].avg_rt', 'the row disappears'),
    need('count', 'workers[].rss workers[].vsz workers[].respawn_count workers[].harakiri_count', 'the row disappears'),
    need('count', 'workers[].signals', 'shows 0'),
    need('count', 'workers[].cores[].id workers[].cores[].requests', 'it ends when cores are shown'),
    need('flag', 'workers[].cores[].in_request', 'it ends when cores are shown'),
  ],
  uwsgicachetop: [
    need('text', 'version cwd', 'an empty head'),
    need('count', 'listen_queue uid gid pid', 'an empty head'),
    need('count', 'workers[].requests workers[].tx', 'it ends'),
    need('list', 'caches', 'it ends, also where there is no cache'),
    need('text', 'caches[].name', 'it ends'),
    need('count', 'caches[].hits caches[].miss caches[].items caches[].full', 'it ends'),
    need('positive', 'caches[].max_items', 'it ends'),
  ],
  uwsgi_exporter: [
    need('count', 'listen_queue listen_queue_errors signal_queue', goTypes),
    need('positive', 'workers[].id', 'the worker is left out'),
    need('text', 'sockets[].name sockets[].proto', goTypes),
    need('count', 'sockets[].queue sockets[].max_queue', goTypes),
    need('flag', 'sockets[].shared sockets[].can_offload workers[].accepting', goTypes),
    need('count', 'workers[].delta_requests workers[].signal_queue workers[].rss workers[].vsz', goTypes),
    need('count', 'workers[].running_time workers[].last_spawn workers[].avg_rt workers[].requests', goTypes),
    need('count', 'workers[].exceptions workers[].harakiri_count workers[].signals', goTypes),
    need('count', 'workers[].respawn_count workers[].tx', goTypes),
    need('status', 'workers[].status', 'no status at all'),
    need('list', 'workers[].apps workers[].cores', 'none are counted'),
    need('count', 'workers[].apps[].id workers[].apps[].startup_time workers[].apps[].requests', goTypes),
    need('count', 'workers[].apps[].exceptions', goTypes),
    need('text', 'workers[].apps[].mountpoint workers[].apps[].chdir', goTypes),
    need('count', 'workers[].cores[].id workers[].cores[].requests workers[].cores[].static_requests', goTypes),
    need('count', 'workers[].cores[].routed_requests workers[].cores[].offloaded_requests', goTypes),
    need('count', 'workers[].cores[].write_errors workers[].cores[].read_errors', goTypes),
    need('flag', 'workers[].cores[].in_request', goTypes),
    need('text', 'caches[].name', goTypes),
    need('count', 'caches[].hits caches[].miss caches[].full caches[].items caches[].max_items', goTypes),
  ],
  telegraf: [
    need('count', 'listen_queue listen_queue_errors signal_queue load pid uid gid', goTypes),
    need('text', 'version', goTypes),
    need('positive', 'workers[].id', goTypes),
    need('count', 'workers[].requests workers[].delta_requests workers[].exceptions workers[].harakiri_count', goTypes),
    need('count', 'workers[].pid workers[].signals workers[].signal_queue workers[].rss workers[].vsz', goTypes),
    need('count', 'workers[].running_time workers[].last_spawn workers[].respawn_count', goTypes),
    need('count', 'workers[].tx workers[].avg_rt', goTypes),
    need('flag', 'workers[].accepting workers[].cores[].in_request', goTypes),
    need('status', 'workers[].status', 'an empty status'),
    need('count', 'workers[].apps[].id workers[].apps[].modifier1 workers[].apps[].requests', goTypes),
    need('count', 'workers[].apps[].startup_time workers[].apps[].exceptions', goTypes),
    need('count', 'workers[].cores[].id workers[].cores[].requests workers[].cores[].static_requests', goTypes),
    need('count', 'workers[].cores[].routed_requests workers[].cores[].offloaded_requests', goTypes),
    need('count', 'workers[].cores[].write_errors workers[].cores[].read_errors', goTypes),
  ],
  'datadog over tcp': [
    need('count', 'load listen_queue listen_queue_errors signal_queue', 'the check fails'),
    need('positive', 'workers[].id', 'the check fails'),
    need('count', 'workers[].respawn_count workers[].tx workers[].vsz workers[].rss', 'the check fails'),
    need('count', 'workers[].harakiri_count workers[].signals workers[].signal_queue', 'the check fails'),
    need('count', 'workers[].avg_rt workers[].exceptions workers[].requests', 'the check fails'),
    need('count', 'workers[].running_time', 'the check fails'),
    need('flag', 'workers[].accepting', 'the check fails'),
    need('list', 'workers[].cores', 'the check fails; it cannot be used with --stats-no-cores'),
    need('count', 'workers[].cores[].static_requests workers[].cores[].routed_requests', 'the check fails'),
    need('count', 'workers[].cores[].offloaded_requests workers[].cores[].requests', 'the check fails'),
    need('count', 'workers[].cores[].read_errors workers[].cores[].write_errors', 'the check fails'),
    need('flag', 'workers[].cores[].in_request', 'the check fails'),
  ],
  'datadog over unix': [
    need('text', 'cwd', 'the check fails'),
    need('count', 'listen_queue listen_queue_errors', 'the check fails'),
    need('positive', 'workers[].id', 'the check fails'),
    need('flag', 'workers[].accepting', 'the check fails'),
    need('status', 'workers[].status', 'the check fails'),
    need('count', 'workers[].running_time workers[].tx workers[].vsz workers[].rss', 'the check fails'),
    need('count', 'workers[].respawn_count workers[].exceptions', 'the check fails'),
    need('count', 'workers[].harakiri_count workers[].avg_rt', 'the check fails'),
  ],
  netdata: [
    need('count', 'workers[].requests workers[].tx workers[].avg_rt workers[].rss workers[].vsz', 'an empty chart'),
    need('count', 'workers[].exceptions workers[].harakiri_count workers[].respawn_count', 'an empty chart'),
  ],
  ours: [
    need('positive', 'generated_at schema', 'ours'),
    need('count', 'uptime', 'ours'),
    need('count', 'workers[].in_flight workers[].core_overflows workers[].loop_delay_p50', 'ours'),
    need('count', 'workers[].loop_delay_p99 workers[].loop_delay_max', 'ours'),
    need('signed', 'workers[].beat_age', 'ours'),
  ],
}

/** Every client can live with the document, as it came over the wire. */
export function satisfies(bytes: Buffer, { withoutCores = false } = {}): void {
  assert.ok(
    bytes.every((byte) => byte < 128),
    'uwsgicachetop: decodes what it reads in pieces',
  )
  const text = bytes.toString()
  const document = JSON.parse(text) as Json
  for (const number of numbersIn(text)) assert.match(number, /^-?\d+$/, 'every number is written as a whole one')
  for (const [client, needs] of Object.entries(clients))
    for (const { fields, kind, otherwise } of needs)
      for (const field of fields.split(' ').filter((one) => !(withoutCores && one.includes('cores'))))
        for (const { value, where } of valuesOf(document, field))
          assert.ok(
            value !== undefined && kinds[kind]!(value),
            `${client}: ${where} is ${JSON.stringify(value)}, no ${kind}; ${otherwise}`,
          )
  for (const labels of labelSets) isUnique(document, labels, withoutCores)
}

/** What the exporter makes series of: two with the same labels make the scrape fail. */
const labelSets = [
  'sockets[] name proto',
  'workers[] id',
  'caches[] name',
  'workers[].apps[] id mountpoint chdir',
  'workers[].cores[] id',
]

function isUnique(document: Json, labels: string, withoutCores: boolean): void {
  const [path, ...names] = labels.split(' ') as [string, ...string[]]
  if (withoutCores && path.includes('cores')) return
  const seen = new Set<string>()
  for (const { value, where } of valuesOf(document, path)) {
    const row = value as Record<string, Json>
    const parent = where.slice(0, where.lastIndexOf('['))
    const key = JSON.stringify([parent, ...names.map((name) => row[name])])
    assert.ok(!seen.has(key), `uwsgi_exporter: ${where} has the labels of another`)
    seen.add(key)
  }
}

/** Every value that a path with [] leads to; undefined where it leads nowhere. */
export function valuesOf(document: Json, path: string): { value: Json | undefined; where: string }[] {
  let found: { value: Json | undefined; where: string }[] = [{ value: document, where: '' }]
  for (const step of path.split('.')) {
    const key = step.replace('[]', '')
    found = found.map(({ value, where }) => {
      const inner = (value as Record<string, Json> | undefined)?.[key]
      return { value: inner, where: where ? `${where}.${key}` : key }
    })
    if (step.endsWith('[]'))
      found = found.flatMap(({ value, where }) => {
        assert.ok(Array.isArray(value), `${where} is no list`)
        return value.map((one, index) => ({ value: one, where: `${where}[${index}]` }))
      })
  }
  return found
}

function numbersIn(json: string): string[] {
  return json.replace(/"(?:[^"\\]|\\.)*"/gs, '""').match(/[-\d][\w.+-]*/g) ?? []
}
