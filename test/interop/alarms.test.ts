// The same thresholds and alarms, given to real uWSGI and to us: what fires, what it
// says, how often, and what is refused.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { app, folder, run, until } from '../harness.ts'

const missing = spawnSync('uwsgi', ['--version']).status === 0 ? false : 'uwsgi (uwsgi-core)'

interface Told {
  at: number
  message: string
}

/** The options that both get; what an alarm tells is written to a file of its name. */
function optionsIn(dir: string): string[] {
  // Its arguments: the alarm's file. uWSGI gives a line end to nobody.
  writeFileSync(join(dir, 'note.sh'), 'm=$(cat); echo "$(date +%s%N) $m" >> "$1"\n')
  writeFileSync(join(dir, 'level'), '5\n')
  const alarm = (name: string) => ['--alarm', `${name} cmd:sh ${join(dir, 'note.sh')} ${join(dir, name)}`]
  return [
    ...['--master', '--http-socket', '127.0.0.1:0'],
    ...['plain', 'other', 'rated', 'reset', 'never'].flatMap(alarm),
    ...['--alarm', 'lg log:PFX', '--alarm', 'bare log:'],
    ...['--metric', `name=level,type=gauge,collector=file,arg1=${join(dir, 'level')}`],
    ...['--metric', 'name=start,initial_value=7'],
    ...['--metric-threshold', 'key=level,value=10,alarm=plain,msg=level is high'],
    ...['--metric-alarm', 'key=level,value=20,alarm=other'],
    ...['--alarm-metric', 'key=level,value=10,alarm=rated,rate=60,msg=seldom'],
    ...['--metric-threshold', 'key=start,value=5,alarm=reset,reset=1,msg=start was reset'],
    ...['--metric-threshold', 'key=level,value=26,alarm=never'],
    ...['--metric-threshold', 'key=level,value=25,alarm=lg,msg=to the log', '--metric-threshold'],
    ...['key=level,value=25,alarm=bare'],
  ]
}

function told(dir: string, alarm: string): Told[] {
  const path = join(dir, alarm)
  if (!existsSync(path)) return []
  return [...readFileSync(path, 'utf8').matchAll(/^(\d+) (.*)$/gm)].map(([, at, message]) => {
    return { at: Number(at) / 1e6, message: message! }
  })
}

const inLog = (log: string) =>
  [...log.matchAll(/^\w{3} \w{3} [ \d]\d [\d:]{8} \d{4} - (ALARM: .*)$/gm)].map(([, one]) => one)

test('thresholds fire as in uWSGI: the same ones, with the same words, no oftener', { skip: missing }, async (t) => {
  const [theirs, ours] = ['uwsgi', 'uwshm'].map((name) => join(folder(t), name)) as [string, string]
  for (const dir of [theirs, ours]) mkdirSync(dir)
  const uwsgi = spawn('uwsgi', [...optionsIn(theirs), '--die-on-term'], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => uwsgi.kill('SIGKILL'))
  let log = ''
  for (const stream of [uwsgi.stdout, uwsgi.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      log += text
    })
  const master = run(t, [...optionsIn(ours), app('alarms.mjs')])

  const both = (what: string, holds: (dir: string) => boolean) => until(what, () => holds(theirs) && holds(ours))
  await both('start is reset', (dir) => told(dir, 'reset').length > 0)
  for (const dir of [theirs, ours]) assert.deepEqual(told(dir, 'plain'), [], 'the level is low')
  for (const dir of [theirs, ours]) writeFileSync(join(dir, 'level'), '10\n')
  await both('the level is seen', (dir) => told(dir, 'plain').length === 1 && told(dir, 'rated').length === 1)
  for (const dir of [theirs, ours]) assert.deepEqual(told(dir, 'other'), [], 'below its threshold')
  for (const dir of [theirs, ours]) writeFileSync(join(dir, 'level'), '25\n')
  await both('it is higher', (dir) => told(dir, 'other').length > 0)
  await both('it is told again', (dir) => told(dir, 'plain').length === 2)
  await until('it is in the logs', () => inLog(log).length >= 2 && inLog(master.log).length >= 2)

  for (const alarm of ['plain', 'other', 'rated', 'reset', 'never']) {
    const said = (dir: string) => [...new Set(told(dir, alarm).map(({ message }) => message))]
    assert.deepEqual(said(ours), said(theirs), alarm)
  }
  assert.deepEqual([...new Set(inLog(master.log))], [...new Set(inLog(log))])
  for (const dir of [theirs, ours]) {
    const [first, second] = told(dir, 'plain')
    // uWSGI counts whole seconds, so its three may be two and a bit; programs start late.
    assert.ok(second!.at - first!.at > 1900, `${dir}: the same message after ${second!.at - first!.at} ms`)
    assert.equal(told(dir, 'rated').length, 1, dir)
    assert.equal(told(dir, 'reset').length, 1, `${dir}: it was reset, so it is no more above`)
  }
})

test('what uWSGI refuses at the start, we refuse too', { skip: missing }, (t) => {
  const uwsgi = (args: string[]) => spawnSync('uwsgi', ['--master', ...args], { timeout: 10_000 }).status
  for (const args of [
    ['--alarm', 'a unheardof:x'],
    ['--alarm', 'a log:', '--metric-threshold', 'key=unheardof,value=1,alarm=a'],
  ]) {
    assert.equal(uwsgi(args), 1, `uWSGI takes ${args.join(' ')}`)
    const { status, stderr } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, '../../dist/cli.js'), ...args, app('alarms.mjs')],
      { encoding: 'utf8', timeout: 10_000 },
    )
    assert.equal(status, 1, args.join(' '))
    assert.match(stderr, /^uwshm: .+\n$/m)
  }
  t.diagnostic('an alarm that a threshold names and nobody has: uWSGI starts, we do not')
})
