// The public names, and nothing else.

export { uwsgi, type Bytes, type Cache, type CacheHandleOptions } from './api.ts'
export { UwsgiError, type Code } from './errors.ts'
export { create } from './instance.ts'
export type { Refusal } from './native.ts'
export type { GivenOptions } from './options.ts'
