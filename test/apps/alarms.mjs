// Raises alarms, moves metrics and dies, as its requests say.

import { uwsgi } from '../../dist/index.js'
import { native } from '../../dist/native.js'

uwsgi.onSignal(17, (signal, message) => uwsgi.log(`worker ${uwsgi.workerId()} heard ${signal}: ${message}`))

const answers = {
  alarm: (name, message) => uwsgi.alarm(name, message),
  long: (name, size) => uwsgi.alarm(name, '\u00fc'.repeat(Number(size))),
  flood: (name, count) =>
    Array.from({ length: Number(count) }, (_, i) => uwsgi.alarm(name, `${i}`)).filter(Boolean).length,
  twice: (name, message) => [uwsgi.alarm(name, message), process.kill(process.pid, 'SIGKILL')],
  set: (name, value) => uwsgi.metricSet(name, Number(value)),
  get: (name) => uwsgi.metricGet(name),
  say: (text) => [
    console.log(`${text} on stdout`),
    console.error(`${text} on stderr`),
    uwsgi.log(`${text} in the log`),
  ],
  half: (text) => process.stderr.write(text),
  crash: () => process.kill(process.pid, 'SIGSEGV'),
  instance: () => native.instance().id,
  wrong: () => uwsgi.alarm('lg', 5),
}

export default (request, response) => {
  const [what, ...given] = request.url.slice(1).split('/').map(decodeURIComponent)
  const answer = answers[what]?.(...given)
  if (what !== 'crash') response.end(String(answer))
}
