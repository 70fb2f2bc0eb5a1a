// A node:cluster program: the primary makes the memory, its workers count in it.
import cluster from 'node:cluster'
import { create, uwsgi } from 'uwshm'

if (cluster.isPrimary) {
  create({ cache2: ['name=n,items=10'] })
  let left = 3
  for (let i = 0; i < 3; i++)
    cluster.fork().on('exit', () => {
      if (--left === 0) console.log(uwsgi.cacheNum('hits'))
    })
} else {
  for (let i = 0; i < 1000; i++) uwsgi.cacheInc('hits')
  process.exit()
}
