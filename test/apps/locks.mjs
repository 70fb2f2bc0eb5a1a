// A worker that does what it is told: each listens at a socket of its own, named by
// its pid, runs the code that it is sent and answers with the result as JSON.

import { createServer } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { uwsgi } from '../../dist/index.js'
import { native } from '../../dist/native.js'

const AsyncFunction = (async () => {}).constructor
const kept = {} // from one request to the next

createServer(async (request, response) => {
  try {
    const result = await new AsyncFunction('uwsgi', 'kept', 'native', await text(request))(uwsgi, kept, native)
    response.end(JSON.stringify({ result: result ?? null }))
  } catch ({ name, code, message }) {
    response.end(JSON.stringify({ name, code, message }))
  }
}).listen(join(process.env.LOCKS_FOLDER, `${process.pid}`))
