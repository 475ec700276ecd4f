import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import { BROKEN_SOURCES } from './broken.ts'
import { runCase, SOURCE_CONFORMANCE } from './conformance.ts'

describe('the suite catches every source that breaks a promise', () => {
  for (const broken of BROKEN_SOURCES) {
    test(`${broken.name}: caught by "${broken.caught_by}"`, { timeout: 60_000 }, async () => {
      const one = SOURCE_CONFORMANCE.find((candidate) => candidate.name === broken.caught_by)
      assert(one !== undefined, `no case is called "${broken.caught_by}"`)
      await expect(runCase(one, broken.driver)).rejects.toThrow()
    })
  }
})

test('each case has its own name', () => {
  expect(new Set(SOURCE_CONFORMANCE.map(({ name }) => name)).size).toBe(SOURCE_CONFORMANCE.length)
})
