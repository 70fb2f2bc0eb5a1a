// The sum of other metrics, times arg1n; 0 without it, as in uWSGI.

import { defineCollector, needsChildren, sumOf } from './contract.ts'

export default defineCollector({
  needs: needsChildren,
  open: ({ arg1n }) => ({ read: ({ children }) => sumOf(children) * arg1n }),
})
