// The sum of other metrics.

import { defineCollector, needsChildren, sumOf } from './contract.ts'

export default defineCollector({
  needs: needsChildren,
  open: () => ({ read: ({ children }) => sumOf(children) }),
})
