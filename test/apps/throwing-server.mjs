// Listens by itself, and rejects a promise that nobody waits for.
import { createServer } from 'node:http'

const server = createServer(async () => {
  throw new Error('thrown here')
})
server.listen(0, '127.0.0.1', () => console.log(`listens at port ${server.address().port}`))
