import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import { BROKEN_STORES } from './broken.ts'
import { CONFORMANCE, runCase } from './conformance.ts'
import { directoryHarness } from './directory-harness.ts'

describe('the suite catches every store that breaks a promise', () => {
  for (const broken of BROKEN_STORES) {
    test(`${broken.name}: caught by "${broken.caught_by}"`, async () => {
      const one = CONFORMANCE.find((candidate) => candidate.name === broken.caught_by)
      assert(one !== undefined, `no case is called "${broken.caught_by}"`)
      await expect(runCase(one, () => directoryHarness(broken.wrap))).rejects.toThrow()
    })
  }
})

test('each case has its own name', () => {
  expect(new Set(CONFORMANCE.map((one) => one.name)).size).toBe(CONFORMANCE.length)
})
