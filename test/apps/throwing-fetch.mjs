// A Fetch handler that fails in each way it can.
function pull() {
  throw new Error('thrown here')
}

export default (request) => {
  const { pathname } = new URL(request.url)
  if (pathname === '/read') return request.text().then((text) => new Response(text))
  if (pathname === '/body')
    return new Response(new ReadableStream({ start: (body) => body.enqueue(new Uint8Array(9)), pull }))
  if (pathname === '/sync') pull()
  return Promise.reject(new Error('thrown here'))
}
