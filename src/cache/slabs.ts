// Where values that become Buffers lie: native code copies a value into a *slab* that JavaScript made, and we return a
// view of it. That is several times faster than a Buffer that native code allocates.
//
// A view that is kept keeps its slab, so slabs are small. There are two, for making memory costs as much as copying a
// kilobyte: small values share one of 16 KiB, others one of 64 KiB, and a large one has memory of its own.

import { markAsUntransferable } from 'node:worker_threads'
import { native } from '../native.ts'

export const SMALL = 512 // kSmallValue in cache_binding.cpp
export const LARGE = 16384

// The class that Buffer's own methods construct: a Buffer over given memory, without the checks of Buffer.from.
const FastBuffer = (Buffer as unknown as Record<symbol, new (m: ArrayBuffer, at: number, size: number) => Buffer>)[
  Symbol.species
]!

export class Slab {
  readonly #which: 0 | 1
  readonly #length: number
  #memory = new ArrayBuffer(0)
  #position = 0

  constructor(which: 0 | 1, length: number) {
    this.#which = which
    this.#length = length
  }

  /** The value of `size` bytes that native code has just put here. */
  take(size: number): Buffer {
    const at = this.#position
    this.#position += (size + 7) & ~7 // as native code moves on
    return new FastBuffer(this.#memory, at, size)
  }

  renew(): void {
    // Not zeroed, unlike a new ArrayBuffer: every byte that a view shows is written first.
    const fresh = Buffer.allocUnsafeSlow(this.#length).buffer
    markAsUntransferable(fresh) // a transfer would pull the ground away from every other view
    // Ours follows only when native code has it: any call may throw where the stack ends.
    native.slab(this.#which, fresh, 0)
    this.#memory = fresh
    this.#position = 0
  }

  /** Puts `memory` in its place for the time of a call, and not longer, whatever that throws. */
  lend<T>(memory: ArrayBuffer, call: () => T): T {
    try {
      native.slab(this.#which, memory, 0)
      return call()
    } finally {
      native.slab(this.#which, this.#memory, this.#position)
    }
  }
}

export const small = new Slab(0, 16384)
export const large = new Slab(1, 65536)
