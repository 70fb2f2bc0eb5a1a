// In uWSGI a mule is a process beside the workers that gets the message. Here a
// function of a module does, in a thread of the master: `mule:./on-alarm.ts:raised`.

import { ModuleFunction } from '../module-function.ts'
import { defineAlarm } from './contract.ts'

export default defineAlarm({
  syntax: 'mule:./MODULE.ts:FUNCTION',
  help: 'call a function of a module with the message, in a thread of the master',
  needs(spelling) {
    if (ModuleFunction.isOne(spelling)) return null
    return 'a function, like mule:./on-alarm.ts:raised; mules by number are not built here yet'
  },
  open(spelling) {
    const raised = new ModuleFunction(spelling)
    return {
      async raise(message) {
        await raised.call(message)
      },
      close: () => raised.close(),
    }
  },
})
