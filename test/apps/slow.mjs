// Answers when the file named by its first argument exists: requests that run
// for as long as a test wants. The path /begun sends its headers first.
import { existsSync } from 'node:fs'

const [, , file] = process.argv

export default (request, response) => {
  if (request.url === '/quick') return response.end('quick')
  if (request.url === '/begun') response.write('begun ')
  const timer = setInterval(() => {
    if (!existsSync(file)) return
    clearInterval(timer)
    response.end('done')
  }, 5)
}
