// A function of the operator's: `arg1=./load.ts:measure`. It returns a number or
// a bigint, or a promise of one.

import { ModuleFunction } from '../../module-function.ts'
import { defineCollector } from './contract.ts'

export default defineCollector({
  needs: ({ arg1 }) => (ModuleFunction.isOne(arg1) ? null : 'arg1=./module.ts:function'),

  open({ arg1 }) {
    const measure = new ModuleFunction(arg1)
    return {
      async read() {
        const value = await measure.call()
        if (typeof value === 'bigint') return value
        if (typeof value === 'number' && Number.isFinite(value)) return BigInt(Math.trunc(value))
        throw new Error(`${arg1} returned ${String(value)}, not a number`)
      },
      close: () => measure.close(),
    }
  },
})
