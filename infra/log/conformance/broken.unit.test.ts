import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import { memoryHarness } from '../memory/test-harness.ts'
import { BROKEN_LOGS } from './broken.ts'
import { CONFORMANCE, runCase } from './conformance.ts'

describe('the suite catches every log that breaks a promise', () => {
  for (const broken of BROKEN_LOGS) {
    test(`${broken.name}: caught by "${broken.caught_by}"`, { timeout: 20_000 }, async () => {
      const one = CONFORMANCE.find((candidate) => candidate.name === broken.caught_by)
      assert(one !== undefined, `no case is called "${broken.caught_by}"`)
      await expect(runCase(one, async () => memoryHarness(broken.wrap))).rejects.toThrow()
    })
  }
})

test('each case has its own name', () => {
  expect(new Set(CONFORMANCE.map((one) => one.name)).size).toBe(CONFORMANCE.length)
})
