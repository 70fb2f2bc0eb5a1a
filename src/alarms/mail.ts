// Alarms on their way between processes of one group, by the names that mailboxes
// have (native/cpp/binding/mailbox.cpp):
//
//   uwshm-<instance>-alarms            the master's; a message is `name NUL text`
//   uwshm-<instance>-<pid>-signal-<n>  a process that listens to signal n; a text

import { UwsgiError } from '../errors.ts'
import { native } from '../native.ts'

export type SignalListener = (signal: number, message: string) => unknown

/** What the kernel carries at once; the master cuts what is longer than --alarm-msg-size. */
const room = new Uint8Array(65536)
const listeners = new Map<number, SignalListener[]>()

export function alarmMailbox(): string {
  return `uwshm-${native.instance().id}-alarms`
}

/** False: the master does not take it, for it is gone, stopped, or there is too much. */
export function sendAlarm(name: string, message: string): boolean {
  return post(alarmMailbox(), `${name}\0${message}`, true)
}

export function readAlarm(bytes: Buffer): { name: string; message: string } {
  const text = bytes.toString('utf8')
  const end = text.indexOf('\0')
  return { name: text.slice(0, Math.max(0, end)), message: text.slice(end + 1) }
}

/** How many processes of the group have heard it. The master waits for none of them. */
export function callSignal(number: number, message: string): number {
  return native.processes().filter(({ pid, alive }) => alive && post(signalMailbox(pid, number), message, false)).length
}

/** Has `listener` called, in this thread, whenever an alarm sends that signal. */
export function listenToSignal(number: number, listener: SignalListener): void {
  const known = listeners.get(number)
  if (known !== undefined) {
    known.push(listener)
    return
  }
  const all = [listener]
  const isOurs = native.openMailbox(signalMailbox(process.pid, number), [], [], (_, bytes) => {
    const message = bytes.toString('utf8')
    for (const one of all) one(number, message)
  })
  if (!isOurs) throw new UwsgiError('SIGNAL_TAKEN', number)
  listeners.set(number, all)
}

function signalMailbox(pid: number, number: number): string {
  return `uwshm-${native.instance().id}-${pid}-signal-${number}`
}

function post(mailbox: string, text: string, waits: boolean): boolean {
  return native.post(mailbox, room.subarray(0, new TextEncoder().encodeInto(text, room).written), waits)
}
