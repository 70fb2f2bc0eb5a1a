// Alarms and thresholds on the command line: what is taken, and with which words the
// rest is refused.

import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import { test } from 'node:test'
import { Alarms } from '../../src/alarms/alarms.ts'
import { alarmList, types } from '../../src/alarms/index.ts'
import { UwsgiError } from '../../src/errors.ts'
import { planMetrics } from '../../src/metrics/plan.ts'
import { parseOptions } from '../../src/options.ts'

function refusal(...argv: string[]): string {
  try {
    const options = parseOptions(argv)
    new Alarms(options)
    planMetrics(options)
  } catch (error) {
    assert.ok(error instanceof UwsgiError, String(error))
    return error.message
  }
  assert.fail(`${argv.join(' ')} was taken`)
}

const log = ['--alarm', 'lg log:']

test('every spelling of uWSGI is understood', () => {
  const { metricThreshold, enableMetrics } = parseOptions(
    ['metric-threshold', 'metric-alarm', 'alarm-metric'].flatMap((name) => [
      `--${name}`,
      'key=worker.0.requests,value=1',
    ]),
  )
  assert.equal(metricThreshold.length, 3)
  assert.ok(enableMetrics)
  const lists = {
    alarmBacklog: 'alarm-backlog backlog-alarm lq-alarm alarm-lq alarm-listen-queue listen-queue-alarm',
    alarmSegfault: 'alarm-segfault segfault-alarm',
    logAlarm: 'log-alarm alarm-log',
    notLogAlarm: 'not-log-alarm not-alarm-log',
  } as const
  for (const [key, names] of Object.entries(lists))
    for (const name of names.split(' '))
      assert.deepEqual(parseOptions([`--${name}`, 'lg x'])[key as keyof typeof lists], ['lg x'], name)
  assert.ok(parseOptions(['--alarms-list']).alarmList)
  assert.deepEqual((({ alarmFreq, alarmMsgSize }) => ({ alarmFreq, alarmMsgSize }))(parseOptions([])), {
    alarmFreq: 3,
    alarmMsgSize: 8192,
  })
  new Alarms(parseOptions([...log, '--alarm', 'c cmd:mail -s a:b ops', '--alarm-cheap', '--log-alarm', 'lg,c ^x y$']))
})

test('what names no alarm, or nonsense, is refused with a sentence', () => {
  const fd = openSync(import.meta.filename, 'r')
  for (const [argv, sentence] of [
    [['--alarm', 'lg'], /^--alarm 'lg' has no name and type; write it like/],
    [['--alarm', 'lg xmpp:a;b'], /^alarm lg: no type named xmpp; known: log, cmd, curl, signal, mule$/],
    [['--alarm', 'lg toString:'], /no type named toString/],
    [[...log, ...log], /^two alarms are named lg; give each its own name$/],
    [['--alarm', 'c cmd:'], /^alarm c: cmd: needs a command$/],
    [['--alarm', 'c curl:nowhere'], /^alarm c: curl: needs a URL that begins with http, https, smtp or smtps$/],
    [['--alarm', 'c curl:http://a/;colour=red'], /needs keys that it knows \(.*auth_user.*\), not colour$/],
    [['--alarm', 'c curl:smtp://a'], /needs mail_to=ADDRESS, to send a mail$/],
    [['--alarm', 'c curl:http://a;timeout=soon'], /needs timeouts of 1 to 99999 seconds$/],
    [['--alarm', 'c curl:http://a;method=P U'], /needs a method of letters$/],
    [['--alarm', 'c curl:http://a;subject=a\r\nBcc: b'], /needs a subject of one line$/],
    [['--alarm', 's signal:256'], /^alarm s: signal: needs a number from 0 to 255$/],
    [['--alarm', 'm mule:1'], /^alarm m: mule: needs a function, like mule:.*mules by number are not built here yet$/],
    [
      [...log, '--metric-threshold', 'key=worker.0.requests,value=1,alarm=gl'],
      /^--metric-threshold of worker.0.requests names alarm gl, and there is none; known: lg; define it with --alarm 'gl TYPE:ARGUMENT'$/,
    ],
    [['--alarm-backlog', 'x'], /^--alarm-backlog names alarm x, and there is none; known: none; define it/],
    [['--alarm-segfault', 'x'], /^--alarm-segfault names alarm x/],
    [[...log, '--log-alarm', 'lg,x a'], /^--log-alarm names alarm x/],
    [[...log, '--log-alarm', 'lg a', '--not-log-alarm', 'x a'], /^--not-log-alarm names alarm x/],
    [[...log, '--log-alarm', 'lg'], /^--log-alarm 'lg': it has no pattern; write it like/],
    [[...log, '--log-alarm', 'lg ('], /^--log-alarm 'lg \(': Invalid regular expression.*; write it like/],
    [[...log, '--alarm-fd', 'lg'], /^--alarm-fd 'lg': it does not name all three; write it like/],
    [
      [...log, '--alarm-fd', 'lg 9999 rang'],
      /^--alarm-fd 'lg 9999 rang': descriptor 9999 is not open \(EBADF\); write/,
    ],
    [[...log, '--alarm-fd', `lg ${fd} rang`], /: descriptor \d+ is a file, and always readable; write it like/],
    [
      ['--metric-threshold', 'key=worker.0.request,value=1'],
      /no metric named worker.0.request; did you mean worker.0.requests\?$/,
    ],
    [['--metric-threshold', 'key=unheard-of,value=1'], /no metric named unheard-of; add --metric unheard-of$/],
    [
      ['--metric-threshold', 'key=worker.0.requests,value=1,reset=0'],
      /^--metric-threshold of worker.0.requests: uwshm feeds that/,
    ],
    [['--metric-threshold', 'key=m'], /value is missing; write it like key=orders,value=100,alarm=web$/],
    [['--metric-threshold', 'value=1'], /key is missing/],
    [['--metric-threshold', 'key=m,value=1,op=above'], /is not one of ge, gt, le, lt, eq, ne$/],
    [['--metric-threshold', 'key=m,value=10,clear=10'], /clear: 10 is not below 10$/],
    [['--metric-threshold', 'key=m,value=10,op=gt,clear=11'], /clear: 11 is not at most 10$/],
    [['--metric-threshold', 'key=m,value=10,op=le,clear=10'], /clear: 10 is not above 10$/],
    [['--metric-threshold', 'key=m,value=10,op=lt,clear=9'], /clear: 9 is not at least 10$/],
    [['--metric-threshold', 'key=m,value=10,op=eq,clear=9'], /clear: 9 is not possible with op=eq: leave it out$/],
  ] as [string[], RegExp][])
    assert.match(refusal(...argv), sentence)
})

test('--alarm-list has a line for every type', () => {
  for (const [name, { syntax }] of Object.entries(types)) {
    assert.ok(syntax.startsWith(`${name}:`), syntax)
    assert.ok(alarmList().includes(`\n${syntax} `), syntax)
  }
})
