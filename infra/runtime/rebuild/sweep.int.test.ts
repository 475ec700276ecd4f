import { expect, test } from 'vitest'
import {
  type CustomRewardFunction,
  checkedReward,
  type RecordedCompletion,
  RewardFunctionError,
} from '../../../processors/rescore-completions/custom-reward.ts'
import { rescoreCompletions } from '../../../processors/rescore-completions/rescore-completions.ts'
import { completionsRescored } from '../../../schemas/events/reward.ts'
import { completionsScored } from '../../../schemas/events/tower.ts'
import { catalogue, vocabulary } from '../../../streams/vocabulary.ts'
import { append, createTopics, PARTITIONS } from '../../../testing/duckdb/recorded-tower.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { directoryBlobs } from '../../blobs/directory.ts'
import { changed } from '../../log/conformance/altered-log.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { type Log, TopicReplacedError } from '../../log/port/log.ts'
import { headerOf, readRange } from '../internal/json-records.ts'
import { sweep } from './sweep.ts'

const evaluateAll = (evaluate: CustomRewardFunction) => {
  const checked = checkedReward('mine.ts reward()', evaluate)
  return (completions: readonly RecordedCompletion[]) => completions.map(checked)
}
const reward = (evaluate: CustomRewardFunction, changes: { version?: number; dialect?: 'paper' | 'trl' } = {}) =>
  rescoreCompletions({
    name: 'mine',
    version: 1,
    dialect: 'paper',
    where: 'mine.ts reward()',
    source_sha256: 'a'.repeat(64),
    evaluate: evaluateAll(evaluate),
    ...changes,
  })
const linear: CustomRewardFunction = ({ recorded_reward }) => recorded_reward / 2

async function recorded(groups: number): Promise<Log> {
  const log = memoryLog()
  await createTopics(log, catalogue)
  for (let group = 0; group < groups; group++) await append(log, (story) => story.scored(`g${group}`, [20, 0, -5]))
  return log
}
const options = async (log: Log) => ({
  log,
  blobs: directoryBlobs(await temporaryFolder()),
  vocabulary,
  partitions: PARTITIONS,
  group: 'rescore/mine',
})
async function idsIn(log: Log, topic: string): Promise<string[]> {
  const ids: string[] = []
  for (let partition = 0; partition < PARTITIONS; partition++)
    for await (const record of readRange(log, topic, partition, 0n)) ids.push(headerOf(record, 'ce_id') ?? '')
  return ids.sort()
}

test('each recorded event is rescored once; a second sweep adds nothing; later events are rescored by the next one', async () => {
  const log = await recorded(5)
  const with5 = await options(log)
  expect(await sweep(reward(linear), with5)).toEqual({ records: 5, events: 5, rows: 15, unreadable: 0 })
  const first = await idsIn(log, completionsRescored.type)
  expect(await sweep(reward(linear), with5)).toEqual({ records: 0, events: 0, rows: 0, unreadable: 0 })
  expect(await idsIn(log, completionsRescored.type)).toEqual(first)
  await append(log, (story) => story.scored('later', [1]))
  expect(await sweep(reward(linear), with5)).toMatchObject({ records: 1, rows: 1 })
})

test('two logs with the same recording have the same rescored events; another version or dialect gives others', async () => {
  const [one, two] = [await recorded(3), await recorded(3)]
  await sweep(reward(linear), await options(one))
  await sweep(reward(linear), await options(two))
  const ids = await idsIn(one, completionsRescored.type)
  expect(await idsIn(two, completionsRescored.type)).toEqual(ids)
  for (const changes of [{ version: 2 }, { dialect: 'trl' as const }]) {
    const other = await recorded(3)
    await sweep(reward(linear, changes), await options(other))
    expect((await idsIn(other, completionsRescored.type)).filter((id) => ids.includes(id))).toEqual([])
  }
})

test('what live processors read does not change', async () => {
  const log = await recorded(4)
  const before = await log.endOffsets(completionsScored.type)
  await sweep(reward(linear), await options(log))
  expect(await log.endOffsets(completionsScored.type)).toEqual(before)
})

test('a function that throws or gives no number stops the work, names the completion, and writes nothing of that chunk', async () => {
  const cases: [CustomRewardFunction, RegExp][] = [
    [
      () => {
        throw new TypeError('no')
      },
      /mine\.ts reward\(\), completion 0 of group g\d \(x_only, \w+\): expected a number, but it threw TypeError: no at sweep\.int\.test\.ts:\d+/,
    ],
    [() => Number.NaN, /got NaN/],
    [() => undefined as never, /got undefined/],
    [() => '3' as never, /got "3"/],
    [() => ({ reward: 1, reward_components: { a: Number.POSITIVE_INFINITY } }), /got .*Infinity/],
    [(async () => 1) as never, /the function is async/],
    [() => Math.random(), /expected the same reward when asked twice/],
  ]
  for (const [evaluate, message] of cases) {
    const log = await recorded(3)
    const error = await sweep(reward(evaluate), await options(log)).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(RewardFunctionError)
    expect((error as Error).message).toMatch(message)
    expect(await idsIn(log, completionsRescored.type)).toEqual([])
    expect(await sweep(reward(linear), await options(log))).toMatchObject({ events: 3 })
  }
})

test('stopped between chunks, it resumes at its last commit', async () => {
  const log = memoryLog()
  await createTopics(log, catalogue)
  const many = Array.from({ length: 400 }, (_, index) => index)
  for (let group = 0; group < 40; group++) await append(log, (story) => story.scored(`g${group}`, many))
  const stop = new AbortController()
  const with40 = await options(log)
  const first = await sweep(reward(linear), { ...with40, signal: stop.signal, onProgress: () => stop.abort() })
  const second = await sweep(reward(linear), with40)
  expect(first.events).toBeGreaterThan(0)
  expect(first.events).toBeLessThan(40)
  expect(first.events + second.events).toBe(40)
  expect(new Set(await idsIn(log, completionsRescored.type)).size).toBe(40)
})

test('a recreated topic stops the next sweep, which reads nothing from the middle of it', async () => {
  const broker = new MemoryBroker()
  const log = memoryLog({ broker })
  const make = () => createTopics(log, catalogue)
  await make()
  for (const group of ['g0', 'g1']) await append(log, (story) => story.scored(group, [20, 0, -5]))
  const with2 = await options(log)
  await sweep(reward(linear), with2)
  broker.deleteTopic(completionsScored.type)
  await make()
  for (let group = 0; group < 20; group++) await append(log, (story) => story.scored(`other${group}`, [1, 2]))
  const again = sweep(reward(linear), with2)
  await expect(again).rejects.toThrow(TopicReplacedError)
  await expect(again).rejects.toThrow(
    /rescore\/mine stops.*tower\.completions_scored partition \d .*rescore under another one \(--name\)/,
  )
  expect(await idsIn(log, completionsRescored.type)).toHaveLength(2)
})

test('a topic that is recreated during a sweep: nothing that was read of the new one is committed', async () => {
  const broker = new MemoryBroker()
  const log = memoryLog({ broker })
  const make = () => createTopics(log, catalogue)
  await make()
  await append(log, (story) => story.scored('g0', [20, 0, -5]))
  let made_again = false
  const between = changed(log, {
    read: async (request) => {
      if (request.topic === completionsScored.type && !made_again) {
        made_again = true
        broker.deleteTopic(completionsScored.type)
        await make()
        await append(log, (story) => story.scored('other', [1, 2]))
      }
      return await log.read(request)
    },
  })
  await expect(sweep(reward(linear), await options(between))).rejects.toThrow(TopicReplacedError)
  expect(await idsIn(log, completionsRescored.type)).toEqual([])
})
