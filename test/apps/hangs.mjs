// Answers /quick; every other request waits for ever. Once the file named by its
// first argument exists, no new worker comes up.
import { existsSync } from 'node:fs'

if (existsSync(process.argv[2])) process.exit(1)

export default (request, response) => {
  if (request.url === '/quick') response.end('quick')
}
