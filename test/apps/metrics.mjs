// Shows every metric as a line `name value`; /inc/NAME and /set/NAME/N change one first.
import { uwsgi } from 'uwshm'

// Two that begin alike, and are too long for the name of a file.
const paths = ['/a', `${'/'.repeat(168)}a`, `${'/'.repeat(168)}b`]

function label(n) {
  const labelled = uwsgi.defineMetric('labelled', { labels: ['path'] })
  for (const path of paths) labelled.labels(path).inc(n)
}

uwsgi.defineMetric('defined.late').inc(0)
label(0)

export default (request, response) => {
  const [, call, name, n = 1] = request.url.split('/')
  if (call === 'inc') uwsgi.metricInc(name, Number(n))
  if (call === 'set') uwsgi.metricSet(name, Number(n))
  if (call === 'label') label(Number(name))
  if (call === 'took') uwsgi.defineMetric('took', { buckets: [10, 100] }).observe(Number(name))
  if (call === 'throw') throw new Error('as asked')
  response.end(uwsgi.metrics.map((one) => `${one} ${uwsgi.metric(one).bigValue}\n`).join(''))
}
