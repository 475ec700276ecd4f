import { expect, test } from 'vitest'
import { random } from '../../../environments/tower/random.ts'
import { withPolls } from '../../../infra/log/conformance/altered-log.ts'
import { vocabulary } from '../../../streams/vocabulary.ts'
import { fuzz, fuzzReport } from '../fuzz.ts'
import { badRecord } from './bad-records.ts'
import { RecordsTarget, recordsPart } from './part.ts'

test('whatever a topic contains, sound records have their results, and bad ones are reported', async () => {
  const result = await fuzz({ part: recordsPart, seed: 'ci', calls: 200 })
  expect(result.failure, fuzzReport(recordsPart, result)).toBeUndefined()
  expect(result.outcomes.unreadable).toBeGreaterThan(100)
  expect(result.outcomes.foreign).toBeGreaterThan(5)
  expect(result.outcomes.strange).toBeGreaterThan(0)
})

test('a seed and a number are the same record in every process', () => {
  const sound = {
    topic: 't',
    partition: 0,
    offset: 0n,
    appended_ms: 0,
    key: 'k',
    headers: [],
    value: Buffer.from('{}'),
  }
  const made = (call: number) => badRecord(sound, 2, random('fuzz', 'records', 'a', call))
  const all = Array.from({ length: 100 }, (_, call) => made(call))
  expect(all.map((_, call) => made(call))).toEqual(all)
  expect(new Set(all.map(({ kind }) => kind)).size).toBeGreaterThan(15)
})

test('a log that skips a record silently is found', async () => {
  const part = {
    name: 'records',
    open: () =>
      RecordsTarget.open({
        planted: (folder) => ({
          ...folder,
          log: withPolls(folder.log, (polled) => ({
            ...polled,
            records: polled.records.filter(({ topic, value }) => value !== null || vocabulary.get(topic) === undefined),
          })),
        }),
      }),
  }
  const result = await fuzz({ part, seed: 'ci', calls: 100 })
  expect(fuzzReport(part, result)).toMatch(/\(.*tombstone.*\) is bad, and no dead letter of /)
})
