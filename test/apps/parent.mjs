// Counts once itself and once in a child, and answers with the count.
import { spawn } from 'node:child_process'
import { uwsgi } from 'uwshm'

const code = "import('uwshm').then(({ uwsgi }) => uwsgi.cacheInc('n'))"

export default (_request, response) => {
  uwsgi.cacheInc('n')
  const child = spawn(process.execPath, ['-e', code], { cwd: import.meta.dirname, stdio: 'inherit' })
  child.once('exit', () => response.end(String(uwsgi.cacheNum('n'))))
}
