// Loaded into a master before anything else: its second child finds no memory.
import child_process from 'node:child_process'
import { syncBuiltinESMExports } from 'node:module'

const { spawn } = child_process
let calls = 0
child_process.spawn = (...args) => {
  calls++
  if (calls === 2) throw Object.assign(new Error('spawn ENOMEM'), { code: 'ENOMEM' })
  return spawn(...args)
}
syncBuiltinESMExports()
