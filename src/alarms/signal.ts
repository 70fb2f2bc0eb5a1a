// A signal in uWSGI's sense, a number from 0 to 255, nothing of the kernel's: the
// functions that processes of the group gave to `uwsgi.onSignal(number, fn)` are called.

import { defineAlarm } from './contract.ts'

export default defineAlarm({
  syntax: 'signal:NUMBER',
  help: 'call the functions that workers gave to uwsgi.onSignal(NUMBER, fn)',
  needs: (number) => (/^\d{1,3}$/.test(number) && Number(number) <= 255 ? null : 'a number from 0 to 255'),
  open: (number, { signal }) => ({
    raise(message) {
      if (signal(Number(number), message) === 0) throw new Error(`no process listens to signal ${number}`)
    },
  }),
})
