// The application that is served with and without accounting.
export default (_request, response) => response.end('Hello, world!\n')
