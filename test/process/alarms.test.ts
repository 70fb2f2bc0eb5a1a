// Alarms with everything real: programs that run, servers in processes of their own,
// workers that raise them and die.

import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { suite, type TestContext, test } from 'node:test'
import { app, folder, get, isAlive, type Master, processesWith, run, until } from '../harness.ts'

const serve = ['--http-socket', '127.0.0.1:0']
const alarm = (text: string) => ['--alarm', text]
const ask = async (master: Master, ...words: (string | number)[]) => {
  const path = `/${words.map(encodeURIComponent).join('/')}`
  return (await get({ port: master.port(), path })).body
}
const file = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : '')
const count = (text: string, part: string) => text.split(part).length - 1

interface Received {
  method: string
  url: string
  headers: Record<string, string>
  body: string
  isTls: boolean
  said: string[]
}

/** A server in a process of its own; what it has received. */
async function receiver(t: TestContext, ...args: string[]) {
  const child = spawn(process.execPath, [app('receiver.mjs'), ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const lines: unknown[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)))
  const port = (await until('the receiver listens', () => lines[0] ?? false)) as number
  return { port, received: () => lines.slice(1) as Received[] }
}

// Most of their time they wait for a second to be over: some at a time.
suite('alarms', { concurrency: 3 }, () => {
  test('cmd runs a program that reads the message; one that fails is told once, one that hangs holds up nobody', async (t) => {
    const dir = folder(t)
    const heard = join(dir, 'heard')
    const mark = `3600.${process.pid}`
    const master = await run(t, [
      ...serve,
      ...alarm(`good cmd:cat >> ${heard}; echo >> ${heard}`),
      ...alarm('bad cmd:exit 3'),
      ...alarm(`hangs cmd:sleep ${mark} & sleep ${mark}`),
      ...alarm(`deaf cmd:exec <&-; true`),
      app('alarms.mjs'),
    ]).serving(1)
    await ask(master, 'alarm', 'hangs', 'one')
    assert.equal(await ask(master, 'alarm', 'good', 'two\nlines; $(touch no) üé'), 'true')
    for (const message of ['1', '2', '3']) await ask(master, 'alarm', 'bad', message)
    assert.equal(await ask(master, 'alarm', 'unheard-of', 'x'), 'false')
    await ask(master, 'alarm', 'deaf', 'x'.repeat(8000))
    await until('the program ran', () => file(heard).endsWith('\n'))
    await ask(master, 'alarm', 'good', 'again')
    await until('it ran again', () => file(heard).endsWith('again\n'))
    assert.equal(file(heard), 'two\nlines; $(touch no) üé\nagain\n')
    assert.equal(count(master.log, '[uwsgi-alarm] bad: a message was lost: exit 3: exit status 3'), 1)
    assert.doesNotMatch(master.log, /deaf/)
    assert.equal(processesWith(mark).length > 0, true)
    master.kill()
    assert.equal((await master.ended).status, 0)
    await until('what hung is ended with the master, with all it started', () => processesWith(mark).length === 0)
  })

  test('curl posts over HTTP with uWSGI keys, and tells of a server that refuses, hangs or is not there', async (t) => {
    const { port, received } = await receiver(t, 'http')
    const url = `http://127.0.0.1:${port}`
    const master = await run(t, [
      ...serve,
      ...alarm(`plain curl:${url}/in?a=b&c=d`),
      ...alarm(`full curl:${url}/full;method=put;auth_user=ops;auth_pass=a=b:c;subject=Help;mail_to=x@y;timeout=2`),
      ...alarm(`fails curl:url=${url}/fails`),
      ...alarm(`hangs curl:${url}/hangs;timeout=1`),
      ...alarm('nobody curl:http://127.0.0.1:9/'),
      app('alarms.mjs'),
    ]).serving(1)
    for (const name of ['hangs', 'plain', 'full', 'fails', 'nobody']) await ask(master, 'alarm', name, `${name} é`)
    await master.line(/\[uwsgi-alarm\] fails: a message was lost: http:\/\/127.0.0.1:\d+\/fails answered 500/)
    await master.line(/\[uwsgi-alarm\] nobody: a message was lost: .*(ECONNREFUSED|connect)/)
    const all = await until('all arrive', () => received().length === 4 && received())
    const [plain, full] = ['/in?a=b&c=d', '/full'].map((url) => all.find((one) => one.url === url)!)
    assert.equal(plain!.method, 'POST')
    assert.equal(plain!.body, 'plain é')
    assert.equal(plain!.headers['content-type'], 'text/plain; charset=utf-8')
    assert.equal(plain!.headers.authorization, undefined)
    assert.equal(full!.method, 'PUT')
    assert.equal(full!.headers.authorization, `Basic ${Buffer.from('ops:a=b:c').toString('base64')}`)
    assert.equal(full!.body, 'To: x@y\r\nSubject: Help\r\n\r\nfull é')
    await master.line(/\[uwsgi-alarm\] hangs: a message was lost: no end within 1 seconds/)
  })

  test('https and mail: certificates are looked at, unless the operator says not to', async (t) => {
    const dir = folder(t)
    if (spawnSync('openssl', ['version']).status !== 0) return t.skip('openssl')
    const [key, cert] = [join(dir, 'key'), join(dir, 'cert')]
    const self = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
    execFileSync('openssl', [...self, '-subj', '/CN=127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' })
    const [web, mail] = await Promise.all([receiver(t, 'https', key, cert), receiver(t, 'smtp', key, cert)])
    const smtp = `smtp://127.0.0.1:${mail.port}`
    const master = await run(t, [
      ...serve,
      ...alarm(`strict curl:https://127.0.0.1:${web.port}/`),
      ...alarm(`lax curl:https://127.0.0.1:${web.port}/;ssl_insecure=1`),
      ...alarm(`mail curl:${smtp};mail_to=a@x.org,b@x.org;mail_from=me@x.org;subject=Hälp`),
      ...alarm(`safe curl:${smtp};mail_to=a@x.org;ssl=1;ssl_insecure=1;auth_user=u;auth_pass=p`),
      ...alarm(`unsafe curl:${smtp};mail_to=a@x.org;ssl=1`),
      ...alarm(`refused curl:${smtp};mail_to=nobody@x.org`),
      app('alarms.mjs'),
    ]).serving(1)
    for (const name of ['strict', 'lax', 'mail', 'safe', 'unsafe', 'refused'])
      await ask(master, 'alarm', name, `${name}\n.\nlone dot`)
    await master.line(/\[uwsgi-alarm\] strict: a message was lost: self-signed certificate/)
    await master.line(/\[uwsgi-alarm\] unsafe: a message was lost: self-signed certificate/)
    await master.line(/\[uwsgi-alarm\] refused: .* answered RCPT TO:<nobody@x.org> with 550 no such user/)
    const [post] = await until('the lax one arrives', () => web.received().length === 1 && web.received())
    assert.equal(post!.body, 'lax\n.\nlone dot')
    const mails = await until('two mails arrive', () => mail.received().length === 2 && mail.received())
    const [plain, safe] = [mails.find(({ isTls }) => !isTls)!, mails.find(({ isTls }) => isTls)!]
    const at = (line: string) => plain.said.indexOf(line)
    assert.ok(at('MAIL FROM:<me@x.org>') < at('RCPT TO:<a@x.org>') && at('RCPT TO:<b@x.org>') < at('DATA'))
    assert.ok(at('To: a@x.org, b@x.org') > at('DATA'))
    assert.ok(at(`Subject: =?utf-8?B?${Buffer.from('Hälp').toString('base64')}?=`) > 0)
    const [body] = plain.said.slice(plain.said.indexOf('', at('DATA')) + 1)
    assert.equal(Buffer.from(body!, 'base64').toString(), 'mail\n.\nlone dot')
    assert.ok(safe.said.includes(`AUTH PLAIN ${Buffer.from('\0u\0p').toString('base64')}`))
  })

  test('signals call every worker that listens, and are counted; mule calls a function in a thread', async (t) => {
    const dir = folder(t)
    const module = join(dir, 'mule.mjs')
    const heard = join(dir, 'heard')
    writeFileSync(
      module,
      `import { appendFileSync } from 'node:fs'
     export const raised = (message) => appendFileSync('${heard}', message + '\\n')
     export const throws = () => { throw new Error('no') }`,
    )
    const master = await run(t, [
      ...serve,
      ...['-p', '2', '--enable-metrics'],
      ...[...alarm('s signal:17'), ...alarm('deaf signal:18')],
      ...[...alarm(`mule mule:${module}:raised`), ...alarm(`throws mule:${module}:throws`)],
      app('alarms.mjs'),
    ]).serving(2)
    for (const name of ['s', 'deaf', 'mule', 'throws']) await ask(master, 'alarm', name, `to ${name}`)
    await master.line(/worker 1 heard 17: to s/)
    await master.line(/worker 2 heard 17: to s/)
    await master.line(/\[uwsgi-alarm\] deaf: a message was lost: no process listens to signal 18/)
    await master.line(/\[uwsgi-alarm\] throws: a message was lost: throws of .*: no/)
    await until('the mule has it', () => file(heard) === 'to mule\n')
    for (const name of ['routed', 'unrouted']) assert.equal(await ask(master, 'get', `core.${name}_signals`), '1', name)
  })

  test('whatever a worker sends, the master stays well: long texts are cut, floods are dropped, the dying are heard', async (t) => {
    const master = await run(t, [
      ...[...serve, '-p', '2', ...alarm('lg log:PFX'), '--alarm-msg-size', '101'],
      app('alarms.mjs'),
    ]).serving(2)
    assert.equal(await ask(master, 'long', 'lg', 10_000_000), 'true')
    await master.line(new RegExp(`- ALARM: PFX ${'ü'.repeat(50)}\n`))
    await ask(master, 'alarm', 'lg', 'two\nlines\u0000 and a NUL')
    await master.line(/- ALARM: PFX two\\nlines\\u0000 and a NUL\n/)
    assert.equal(await ask(master, 'wrong'), 'Internal Server Error\n')
    await get({ port: master.port(), path: '/twice/lg/last%20words' }).catch(() => {})
    await master.line(/- ALARM: PFX last words\n/)
    await master.line(/Respawned uWSGI worker/)
    master.child.kill('SIGSTOP')
    // The kernel keeps that many for whoever does not read.
    const room = Number(file('/proc/sys/net/unix/max_dgram_qlen'))
    const taken = Number(await ask(master, 'flood', 'lg', room + 20))
    master.child.kill('SIGCONT')
    assert.ok(taken >= room && taken < room + 20, `a stopped master takes what there is room for, no more: ${taken}`)
    await master.line(new RegExp(`- ALARM: PFX ${room - 1}\n`))
  })

  test('garbage from the same user is dropped, and all that comes from another user', async (t) => {
    const master = await run(t, [...serve, ...alarm('lg log:'), app('alarms.mjs')]).serving(1)
    const id = await ask(master, 'instance')
    const send = (texts: string, uid = process.getuid!()) =>
      spawnSync(
        'python3',
        [
          '-c',
          `import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in ${texts}: s.sendto(text, '\\0uwshm-${id}-alarms')`,
        ],
        { uid, gid: uid, encoding: 'utf8' },
      )
    const garbage =
      "[b'', b'\\0', b'lg', b'\\0lg', b'__proto__\\0x', b'nobody\\0x', b'\\xff' * 65536, b'lg\\0from us \\xff']"
    assert.equal(send(garbage).stderr, '')
    await master.line(/- ALARM: from us \ufffd\n/)
    if (process.getuid!() === 0) {
      assert.equal(send("[b'lg\\0from a stranger']", 65534).stderr, '')
      assert.equal(send("[b'lg\\0from us again']").stderr, '')
      await master.line(/- ALARM: from us again\n/)
    }
    assert.equal(count(master.log, 'ALARM'), process.getuid!() === 0 ? 2 : 1)
  })

  test('--log-alarm sees what the master and the workers write, in lines; alarms do not raise themselves', async (t) => {
    const master = await run(t, [
      ...[...serve, ...alarm('lg log:PFX'), ...alarm('other log:OTHER')],
      ...[
        '--log-alarm',
        'lg,other found|ready in',
        '--not-log-alarm',
        'other on std',
        '--log-alarm',
        'lg ALARM|uwsgi-alarm',
      ],
      ...[...alarm('bad cmd:exit 1'), app('alarms.mjs')],
    ]).serving(1)
    await master.line(/- ALARM: PFX worker 1 ready in/)
    await ask(master, 'half', 'begun ')
    await ask(master, 'say', 'found')
    await ask(master, 'alarm', 'bad', 'x')
    await master.line(/\[uwsgi-alarm\] bad: a message was lost/)
    for (const line of [
      'PFX found on stdout',
      'PFX begun found on stderr',
      'PFX found in the log',
      'OTHER found in the log',
    ])
      await master.line(new RegExp(`- ALARM: ${line}\n`))
    await master.line(/\nbegun found on stderr\n/)
    assert.doesNotMatch(master.log, /OTHER .*on std|PFX .*ALARM|PFX \[uwsgi/)
    master.kill()
    assert.equal((await master.ended).status, 0)
    assert.match(master.log, /goodbye to uWSGI/)
  })

  test('--alarm-segfault tells what a worker was doing when it crashed', async (t) => {
    const master = await run(t, [...serve, ...alarm('lg log:'), '--alarm-segfault', 'lg', app('alarms.mjs')]).serving(1)
    const [first] = master.pidsOfReady()
    process.kill(first!, 'SIGKILL')
    await master.serving(2)
    await get({ port: master.port(), path: '/crash/%20' }).catch(() => {})
    await master.line(/- ALARM: worker 1 \(pid: \d+\) died of SIGSEGV, in the middle of GET \/crash\/%20\n/)
    assert.equal(count(master.log, 'ALARM'), 1, 'a kill is no crash')
  })

  test('--alarm-fd is raised by what can be read, so many bytes at a time, and ends with the pipe', async (t) => {
    const dir = folder(t)
    execFileSync('mkfifo', [join(dir, 'pipe')])
    const end = openSync(join(dir, 'pipe'), 'r+')
    const args = [...serve, ...alarm('lg log:'), '--alarm-freq', '0', '--alarm-fd', 'lg 3:4 it rang', app('alarms.mjs')]
    const master = await run(t, args, { fds: [end] }).serving(1)
    writeSync(end, '12345678')
    await until('it rings twice', () => count(master.log, '- ALARM: it rang') === 2)
  })

  test('--alarm-backlog is raised while the queue of a socket is full', async (t) => {
    const path = join(folder(t), 'socket')
    const args = ['--http-socket', path, '--listen', '2', ...alarm('lg log:'), '--alarm-lq', 'lg', app('alarms.mjs')]
    const master = await run(t, args).serving(1)
    const [worker] = master.pidsOfReady()
    process.kill(worker!, 'SIGSTOP')
    const sockets = Array.from({ length: 4 }, () => connect(path).on('error', () => {}))
    t.after(() => {
      for (const socket of sockets) socket.destroy()
      if (isAlive(worker!)) process.kill(worker!, 'SIGCONT')
    })
    await master.line(/- ALARM: listen queue of socket ".*socket" \(fd: \d+\) full !!! \([23]\/2\)\n/)
  })

  test('thresholds: raised and cleared through a real master, reset where they say', async (t) => {
    const dir = folder(t)
    const level = join(dir, 'level')
    writeFileSync(level, '5')
    const master = await run(t, [
      ...[...serve, ...alarm('lg log:')],
      ...['--metric', 'orders', '--metric', 'name=shown,type=alias,alias=orders'],
      ...['--metric', `name=level,type=gauge,collector=file,arg1=${level}`],
      ...['--metric-threshold', 'key=orders,value=10,clear=5,alarm=lg,msg=many orders'],
      ...['--metric-alarm', 'key=shown,value=-3,op=le,reset=7,alarm=lg'],
      ...[
        '--alarm-metric',
        'key=level,value=20,alarm=lg',
        '--alarm-metric',
        'key=level,value=20,op=gt,alarm=lg,msg=no',
      ],
      app('alarms.mjs'),
    ]).serving(1)
    await ask(master, 'set', 'orders', 12)
    writeFileSync(level, '20')
    await master.line(/- ALARM: many orders\n/)
    await master.line(/- ALARM: level\n/)
    await ask(master, 'set', 'orders', -3)
    await master.line(/- ALARM: cleared: many orders\n/)
    await master.line(/- ALARM: shown\n/)
    await until('it is reset', async () => (await ask(master, 'get', 'orders')) === '7')
    assert.equal(count(master.log, 'ALARM: many orders'), 1)
    assert.doesNotMatch(master.log, /ALARM: no/)
  })

  test('a program that makes itself the master has alarms too, and its children raise them', () => {
    const { stderr, status } = spawnSync(process.execPath, [app('alarms-alone.mjs')], {
      encoding: 'utf8',
      timeout: 20_000,
    })
    assert.equal(status, 0, stderr)
    assert.match(stderr, /- ALARM: PFX from a child\nheard 3: from the program itself\n/)
  })

  test('an alarm that is not there ends the start, with a sentence', async (t) => {
    const master = run(t, [
      ...serve,
      '--metric',
      'm',
      '--metric-threshold',
      'key=m,value=1,alarm=gl',
      app('alarms.mjs'),
    ])
    assert.equal((await master.ended).status, 1)
    assert.equal(
      master.log,
      "uwshm: --metric-threshold of m names alarm gl, and there is none; known: none; define it with --alarm 'gl TYPE:ARGUMENT'\n",
    )
  })
})
