// Listens by itself, on the port or path of its first argument, after the
// milliseconds of its second.
import { createServer } from 'node:http'

const [, , where, pause] = process.argv
const server = createServer((_, response) => response.end(String(process.pid)))
const listen = () => server.listen(where, () => console.log(`listens at ${JSON.stringify(server.address())}`))
if (pause) setTimeout(listen, Number(pause))
else listen()
