// All alarms of a master: what the options make of them, and who raises them.
//
//   thresholds of metrics, full backlogs, dead workers   call `raise`
//   --log-alarm           lines of the log (log-lines.ts)
//   --alarm-fd            descriptors that the master was started with
//   uwsgi.alarm(…)        mail from any process of the group (mail.ts)
//
// A wrong option ends the start, with a sentence, before anything is made.

import { fstatSync } from 'node:fs'
import { UwsgiError } from '../errors.ts'
import { log } from '../log.ts'
import { native } from '../native.ts'
import type { Options } from '../options.ts'
import { Alarm } from './alarm.ts'
import { type AlarmTypeName, types } from './index.ts'
import { LogLines } from './log-lines.ts'
import { alarmMailbox, callSignal, readAlarm } from './mail.ts'

/** What the master needs of a listening socket for --alarm-backlog. */
export interface Backlog {
  name: string
  fd: number
}

/** What a worker that died of a fault leaves behind. */
export interface Fault {
  worker: number
  pid: number
  signal: NodeJS.Signals
  /** `GET /path` of each. */
  inFlight: string[]
}

const faults: readonly string[] = ['SIGSEGV', 'SIGBUS', 'SIGFPE', 'SIGILL']
const shownInFlight = 5

interface Watched {
  alarm: string
  fd: number
  bytes: number
  message: string
}

export class Alarms {
  /** Null without --log-alarm. */
  readonly lines: LogLines | null
  private readonly alarms = new Map<string, Alarm>()
  private readonly options: Options
  private readonly watched: Watched[]
  private onSignal: (isHeard: boolean) => void = () => {}

  constructor(options: Options) {
    this.options = options
    for (const text of options.alarm) this.define(text)
    for (const { key, alarm } of options.metricThreshold)
      if (alarm !== '') this.known(alarm, `--metric-threshold of ${key}`)
    for (const alarm of options.alarmBacklog) this.known(alarm, '--alarm-backlog')
    for (const alarm of options.alarmSegfault) this.known(alarm, '--alarm-segfault')
    this.watched = options.alarmFd.map((text) => this.watchedOf(text))
    this.lines =
      options.logAlarm.length > 0
        ? new LogLines(options.logAlarm, options.notLogAlarm, {
            known: (alarm, option) => this.known(alarm, option),
            raise: (alarm, line) => this.raise(alarm, line),
          })
        : null
  }

  /** Once there is shared memory. `onSignal` is told of every signal that an alarm sends: was there anybody to hear it? */
  start(onSignal: (isHeard: boolean) => void): void {
    this.onSignal = onSignal
    if (this.alarms.size === 0) return
    this.lines?.start()
    native.openMailbox(
      alarmMailbox(),
      this.watched.map(({ fd }) => fd),
      this.watched.map(({ bytes }) => bytes),
      (source, bytes) => (source < 0 ? this.mail(bytes) : this.readable(this.watched[source]!, bytes)),
    )
  }

  /** False: it was dropped. */
  raise(name: string, message: string): boolean {
    return this.alarms.get(name)?.raise(cut(message, this.options.alarmMsgSize)) ?? false
  }

  /** Once a second. */
  lookAtBacklogs(sockets: readonly Backlog[]): void {
    for (const { name, fd } of this.options.alarmBacklog.length > 0 ? sockets : []) {
      const [waiting, longest] = native.socketQueue(fd)
      if (waiting < longest || longest === 0) continue
      for (const alarm of this.options.alarmBacklog)
        this.raise(alarm, `listen queue of socket "${name}" (fd: ${fd}) full !!! (${waiting}/${longest})`)
    }
  }

  /** A worker has died of `signal`. */
  lookAtDeath({ worker, pid, signal, inFlight }: Fault): void {
    if (!faults.includes(signal)) return
    const shown = inFlight.slice(0, shownInFlight).join(', ')
    const more = inFlight.length > shownInFlight ? ` and ${inFlight.length - shownInFlight} more` : ''
    const served = inFlight.length > 0 ? `, in the middle of ${shown}${more}` : ', no request in flight'
    for (const alarm of this.options.alarmSegfault)
      this.raise(alarm, `worker ${worker} (pid: ${pid}) died of ${signal}${served}`)
  }

  /** Lets what is under way come to its end, and what was logged get out, for at most so long. */
  async settle(atMostMs: number): Promise<void> {
    const all = Promise.all([...[...this.alarms.values()].map((alarm) => alarm.idle), this.lines?.drained()])
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve, atMostMs))])
  }

  close(): void {
    for (const alarm of this.alarms.values()) alarm.close()
  }

  private define(text: string): void {
    const [, name, type, argument] = /^(\S+) +([^:\s]+):(.*)$/s.exec(text) ?? []
    if (name === undefined || argument === undefined) throw new UwsgiError('ALARM_SYNTAX', text)
    if (this.alarms.has(name)) throw new UwsgiError('ALARM_TWICE', name)
    if (!Object.hasOwn(types, type!))
      throw new UwsgiError('UNKNOWN_ALARM_TYPE', name, type, Object.keys(types).join(', '))
    const { needs, open } = types[type as AlarmTypeName]
    const missing = needs(argument)
    if (missing !== null) throw new UwsgiError('ALARM_NEEDS', name, type, missing)
    const action = open(argument, { signal: (number, message) => this.signal(number, message) })
    this.alarms.set(name, new Alarm(name, action, 1000 * this.options.alarmFreq))
  }

  private known(name: string, option: string): void {
    if (this.alarms.has(name)) return
    const others = [...this.alarms.keys()].join(', ')
    throw new UwsgiError('UNKNOWN_ALARM', option, name, others || 'none', name)
  }

  /** `ALARM FD[:BYTES] MESSAGE` */
  private watchedOf(text: string): Watched {
    const [, alarm, fd, bytes, message = ''] = /^(\S+) +(\d+)(?::(\d+))? +(.+)$/s.exec(text) ?? []
    if (alarm === undefined) throw new UwsgiError('ALARM_FD', text, 'it does not name all three')
    this.known(alarm, '--alarm-fd')
    let isFile = false
    try {
      isFile = fstatSync(Number(fd)).isFile()
    } catch (error) {
      throw new UwsgiError('ALARM_FD', text, `descriptor ${fd} is not open (${(error as NodeJS.ErrnoException).code})`)
    }
    if (isFile) throw new UwsgiError('ALARM_FD', text, `descriptor ${fd} is a file, and always readable`)
    return { alarm, fd: Number(fd), bytes: Math.max(1, Number(bytes ?? 1)), message }
  }

  private readable({ alarm, fd, message }: Watched, bytes: Buffer): void {
    if (bytes.length === 0) log(`[uwsgi-alarm] ${alarm}: descriptor ${fd} has ended, it is watched no longer`)
    else this.raise(alarm, message)
  }

  /** From a process that may be anybody's program: names that nobody has are dropped. */
  private mail(bytes: Buffer): void {
    const { name, message } = readAlarm(bytes)
    this.raise(name, message)
  }

  private signal(number: number, message: string): number {
    const heard = callSignal(number, message)
    this.onSignal(heard > 0)
    return heard
  }
}

/** At most so many bytes, and no half character. uWSGI drops what is too long; the beginning says more than nothing. */
function cut(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text
  const room = Buffer.alloc(bytes)
  return room.toString('utf8', 0, new TextEncoder().encodeInto(text, room).written)
}
