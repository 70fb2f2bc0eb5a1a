// Makes the cache call that stands in the path: /cacheGet/key/cache answers with its result as JSON, bytes as text.
import { uwsgi } from 'uwshm'

export default ({ url }, response) => {
  const [name, ...given] = url.slice(1).split('/').map(decodeURIComponent)
  const result = uwsgi[name](...given.map((one) => (/^\d+(\.\d+)?$/.test(one) ? Number(one) : one)))
  response.end(JSON.stringify(Buffer.isBuffer(result) ? result.toString('latin1') : result))
}
