// The same application as differential.py, for us. It sleeps as that does: nothing else is done meanwhile.

const word = new Int32Array(new SharedArrayBuffer(4))

export default (request, response) => {
  const [, call, number] = request.url.split('/')
  if (call === 'throw') throw new Error('as asked')
  if (call === 'sleep') Atomics.wait(word, 0, 0, Number(number))
  const size = call === 'sleep' ? 2 : Number(number)
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': size }).end('x'.repeat(size))
}
