// Counts in shared memory: each answer is `pid count`.
import { uwsgi } from 'uwshm'

export default (_, response) => {
  response.end(`${process.pid} ${uwsgi.cacheInc('visits')}`)
}
