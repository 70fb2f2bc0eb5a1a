// Answers with the value, as JSON, of the expression that its path is.
import { uwsgi } from 'uwshm'

export default async (request, response) => {
  try {
    const call = new Function('uwsgi', `'use strict'; return ${decodeURIComponent(request.url.slice(1))}`)
    response.end(JSON.stringify((await call(uwsgi)) ?? null))
  } catch (error) {
    response.statusCode = 500
    response.end(`${error.code ?? error.name}: ${error.message}`)
  }
}
