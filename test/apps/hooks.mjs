// Its first argument names a file that the hooks write to, its second one what goes wrong.
import { appendFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { uwsgi } from 'uwshm'

const [, , file, trouble] = process.argv
const note = (word) => appendFileSync(file, `${word} `)
let isReady = false

uwsgi.onPostFork(async () => {
  note('first')
  await pause(50)
  note('awaited')
})
uwsgi.onPostFork(() => {
  if (trouble === 'post-fork') throw new Error('no database')
  note(`second:${uwsgi.workerId()}`)
  isReady = true
})
uwsgi.onExit(async () => {
  note('leaves')
  await pause(50)
  note('left')
})
uwsgi.onExit(() => {
  throw new Error('cannot say goodbye')
})
uwsgi.onExit(() => note('last'))
if (trouble === 'never') uwsgi.onExit(() => new Promise(() => setInterval(() => {}, 1000)))
note('loaded')

export default (request, response) => {
  note(`served:${isReady}`)
  if (request.url === '/late') uwsgi.onPostFork(() => note('late'))
  if (request.url === '/exit') process.exit(3)
  if (request.url === '/throw') setImmediate(() => note('throws') ?? undefined.wrong)
  response.end(trouble ?? '')
}
