// Counts in shared memory, and answers with the code of what went wrong.
import { uwsgi } from 'uwshm'

export default (_, response) => {
  try {
    response.end(String(uwsgi.cacheInc('visits')))
  } catch (error) {
    response.end(error.code)
  }
}
