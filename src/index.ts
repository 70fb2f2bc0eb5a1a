// The public names, and nothing else.

export { type Bytes, type Cache, type CacheHandleOptions, uwsgi } from './api.ts'
export { type Code, UwsgiError } from './errors.ts'
export type { Worker } from './group.ts'
export { create } from './instance.ts'
export type { Refusal } from './native.ts'
export type { GivenOptions, WrittenOptions } from './options.ts'
