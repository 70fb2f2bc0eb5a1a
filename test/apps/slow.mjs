// Answers when the file named by its first argument exists: requests that run
// for as long as a test wants. Each adds a byte to `<file>.running` as it
// begins; the path /begun sends its headers then.
import { appendFileSync, existsSync } from 'node:fs'

const [, , file] = process.argv

export default (request, response) => {
  if (request.url === '/quick') return response.end('quick')
  if (request.url === '/begun') response.write('begun ')
  appendFileSync(`${file}.running`, '.')
  const timer = setInterval(() => {
    if (!existsSync(file)) return
    clearInterval(timer)
    response.end('done')
  }, 5)
}
