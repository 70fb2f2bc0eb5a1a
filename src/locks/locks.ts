// Who holds which internal lock, as operators see it.

import { native } from '../native.ts'

/** uWSGI's shape: one object per lock, with the holder's pid or 0. */
export function lockRows(): Record<string, number>[] {
  return native.locks().map(([name, pid]) => ({ [name]: pid }))
}
