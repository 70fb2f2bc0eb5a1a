// The sum of other metrics and arg1n.

import { defineCollector, needsChildren, sumOf } from './contract.ts'

export default defineCollector({
  needs: needsChildren,
  open: ({ arg1n }) => ({ read: ({ children }) => sumOf(children) + arg1n }),
})
