// Adds its children's sum to itself at every look. uWSGI adds initial_value each
// time as well; here it is where it starts.

import { defineCollector, needsChildren, sumOf } from './contract.ts'

export default defineCollector({
  needs: needsChildren,
  open: () => ({ read: ({ children, before }) => before + sumOf(children) }),
})
