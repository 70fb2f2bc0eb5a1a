// What the crash programs prove, they prove only if they fail where it is not so.

import { test } from 'node:test'
import { make } from './programs.ts'

test('with repair compiled out the same programs fail', () => make('no-repair'))
