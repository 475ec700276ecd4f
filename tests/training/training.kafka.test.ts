import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, inject, test } from 'vitest'
import { trainingTest } from './training-test.ts'

const python = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))

test('on Kafka, with ranks, feed, sampler, scorer and sink killed eight times, every formed group is inside the weights once, and the ledger tells the same', {
  timeout: 600_000,
}, async () => {
  expect(existsSync(python), `${python}: npm test makes it`).toBe(true)
  const log = `kafka://${inject('kafka')}/training-${process.pid}`
  const { breaches, counts } = await trainingTest({ seed: '2', kills: 8, log })
  expect(breaches).toEqual([])
  expect(counts['groups formed']).toBeGreaterThan(50)
})

test('over Kafka without a feed, with ranks, sampler, scorer and sink killed eight times, every formed group is inside the weights once, and the ledger tells the same', {
  timeout: 600_000,
}, async () => {
  const log = `kafka://${inject('kafka')}/training-over-${process.pid}`
  const { breaches, counts } = await trainingTest({ seed: '3', kills: 8, log, over: 'kafka' })
  expect(breaches).toEqual([])
  expect(counts['groups formed']).toBeGreaterThan(50)
})
