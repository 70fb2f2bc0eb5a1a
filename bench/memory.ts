// Forked by cache.ts: what does a full cache of ours take, of the memory that processes share? KiB, sent to the parent.

import { create, uwsgi } from '../dist/index.js'
import { sharedMemory } from './rivals.ts'

create({ cache2: [{ name: 'many', items: 100_000, blocksize: 128 }] })
const cache = uwsgi.cache('many')
for (let number = 0; number < 100_000; number++)
  cache.set(`key:${number.toString(16).padStart(12, '0')}`, Buffer.alloc(128, 'x'))
process.send!(cache.size === 100_000 ? sharedMemory('self') : NaN)
process.disconnect()
