// Shows every metric as a line `name value`; /inc/NAME and /set/NAME/N change one first.
import { uwsgi } from 'uwshm'

uwsgi.defineMetric('defined.late').inc(0)
uwsgi
  .defineMetric('labelled', { labels: ['path'] })
  .labels('/a')
  .inc(0)

export default (request, response) => {
  const [, call, name, n = 1] = request.url.split('/')
  if (call === 'inc') uwsgi.metricInc(name, Number(n))
  if (call === 'set') uwsgi.metricSet(name, Number(n))
  if (call === 'label')
    uwsgi
      .defineMetric('labelled', { labels: ['path'] })
      .labels('/a')
      .inc(Number(name))
  if (call === 'took') uwsgi.defineMetric('took', { buckets: [10, 100] }).observe(Number(name))
  if (call === 'throw') throw new Error('as asked')
  response.end(uwsgi.metrics.map((one) => `${one} ${uwsgi.metric(one).bigValue}\n`).join(''))
}
