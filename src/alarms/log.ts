// A line in the master's log, in uWSGI's words: `… - ALARM: PREFIX message`.

import { logUnheard, oneLine, uwsgiTime } from '../log.ts'
import { defineAlarm } from './contract.ts'

export default defineAlarm({
  syntax: 'log:[PREFIX]',
  help: 'write the message to the log',
  needs: () => null,
  open: (prefix) => ({
    raise: (message) => logUnheard(`${uwsgiTime(new Date())} - ALARM: ${prefix && `${prefix} `}${oneLine(message)}`),
  }),
})
