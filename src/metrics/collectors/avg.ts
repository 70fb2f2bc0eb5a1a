// The mean of other metrics, cut towards zero; 0 of none.

import { defineCollector, sumOf } from './contract.ts'

export default defineCollector({
  needs: () => null,
  open: () => ({ read: ({ children }) => (children.length === 0 ? 0n : sumOf(children) / BigInt(children.length)) }),
})
