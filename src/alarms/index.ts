// The alarm types: the registry is the module itself.

import cmd from './cmd.ts'
import curl from './curl.ts'
import log from './log.ts'
import mule from './mule.ts'
import signal from './signal.ts'

export const types = { log, cmd, curl, signal, mule }
export type AlarmTypeName = keyof typeof types

/** What --alarm-list prints. */
export function alarmList(): string {
  const rows = Object.values(types).map(({ syntax, help }) => `${syntax.padEnd(34)} ${help}`)
  return ['', '*** uWSGI loaded alarms ***', ...rows, '--- end of alarms list ---', ''].join('\n')
}
