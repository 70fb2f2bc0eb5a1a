// Loaded into a worker before anything else: takes accounting out of it, so that
// the same worker can be measured without. No option of ours does that.
import { register } from 'node:module'

const nothing = `
  export const running = () => []
  export const coreOf = () => -1
  export const countRequests = () => {}
  export const watchServer = () => {}
  export const startBeat = () => {}
`
const hook = `
  export async function load(url, context, next) {
    if (!/dist\\/metrics\\/(requests|cores|beat)\\.js$/.test(url)) return next(url, context)
    return { format: 'module', shortCircuit: true, source: ${JSON.stringify(nothing)} }
  }
`
register(`data:text/javascript,${encodeURIComponent(hook)}`)
