// Stores ten new items in every cache it is asked for, at each request: /cache/cache…
import { uwsgi } from 'uwshm'

let count = 0

export default (request, response) => {
  for (const name of request.url.split('/').filter(Boolean))
    for (let i = 0; i < 10; i++) uwsgi.cacheSet(`key ${process.pid} ${count++}`, 'v', 0, name)
  response.end('done')
}
