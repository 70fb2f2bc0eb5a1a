// Two workers, one count: every request is counted in shared memory, and each
// answer tells which process gave it.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { uwsgi } from 'uwshm'

export default function hello(_: IncomingMessage, response: ServerResponse) {
  const visits = uwsgi.cacheInc('visits', 1, 0, 'pages')
  response.end(`worker ${process.pid} sees visit ${visits}\n`)
}
