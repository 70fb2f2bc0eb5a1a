#!/usr/bin/env node
// The command: argv → options → master, or `uwshm fsck FILE`. Whatever is wrong is
// one sentence on stderr and exit status 1, before anything is started.

import { alarmList } from './alarms/index.ts'
import { UwsgiError } from './errors.ts'
import { helpText } from './help.ts'
import { parseOptions } from './options.ts'
import { version } from './version.ts'

try {
  const [command, ...rest] = process.argv.slice(2)
  if (command === 'fsck') process.exit((await import('./cache/fsck.ts')).fsck(rest[0]))
  const options = parseOptions(process.argv.slice(2))
  if (options.help) process.stdout.write(helpText())
  else if (options.version) process.stdout.write(`${version}\n`)
  else if (options.alarmList) process.stdout.write(alarmList())
  else if (options.connectAndRead !== undefined)
    await (await import('./stats/read.ts')).connectAndRead(options.connectAndRead)
  // Only now: the help needs no addon.
  else (await import('./master.ts')).startMaster(options)
} catch (error) {
  if (!(error instanceof UwsgiError)) throw error
  process.stderr.write(`uwshm: ${error.message}\n`)
  process.exitCode = 1
}
