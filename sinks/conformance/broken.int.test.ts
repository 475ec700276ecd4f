import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import { BROKEN_SINKS } from './broken.ts'
import { LOGS, runCase, SINK_CONFORMANCE } from './conformance.ts'

describe('the suite catches every sink that breaks a promise', () => {
  for (const broken of BROKEN_SINKS) {
    test(`${broken.name}: caught by "${broken.caught_by}"`, { timeout: 60_000 }, async () => {
      const one = SINK_CONFORMANCE.find((candidate) => candidate.name === broken.caught_by)
      assert(one !== undefined, `no case is called "${broken.caught_by}"`)
      const log = one.in_other_process ? LOGS.LMDB : LOGS.memory
      await expect(runCase(one, broken.driver, log)).rejects.toThrow()
    })
  }
})

test('each case has its own name', () => {
  expect(new Set(SINK_CONFORMANCE.map(({ name }) => name)).size).toBe(SINK_CONFORMANCE.length)
})
