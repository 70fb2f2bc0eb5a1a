// Makes a cache in a file, says how long that took and what it holds, and fills it if that is nothing.

import { create, uwsgi } from 'uwshm'

const [store, items] = [process.argv[2], Number(process.argv[3])]
const began = performance.now()
create({ cache2: [{ name: 'many', items, blocksize: 128, keysize: 64, store }] })
const tookMs = performance.now() - began
const cache = uwsgi.cache('many')
process.stdout.write(`${JSON.stringify({ tookMs, size: cache.size })}\n`)
if (cache.size === 0) {
  const value = Buffer.alloc(128, 'v')
  for (let n = 0; n < items; n++) cache.set(`item number ${n}`, value)
}
