import { rmSync, symlinkSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Processes } from '../../../testing/lmdb/processes.ts'
import { append, values } from '../conformance/steps.ts'
import { openLmdbLog } from './lmdb-log.ts'

const LIMIT = { timeout: 120_000 }
const TOPICS = [{ name: 't', partitions: 1 }]

test.each([1, 2, 3, 20, 1_000])(
  'a writer continues after the newest transaction, if the lock file names one that is %i older',
  LIMIT,
  async (back) => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics(TOPICS)
    const expected = Array.from({ length: 30 }, (_, i) => `value ${i}`)
    for (const [i, value] of expected.entries()) {
      if (i > 24) expect(await processes.start('set last transaction', { back }).exited).toBe(0)
      await append(log, 't', 0, [value])
    }
    expect(await values(log, 't', 0)).toEqual(expected)
    await log.close()
  },
)

test('a writer that opened the folder through a symbolic link does so, too', LIMIT, async () => {
  await using processes = new Processes()
  await (await openLmdbLog({ dir: processes.dir })).close()
  const link = `${processes.dir}-link`
  symlinkSync(processes.dir, link)
  const log = await openLmdbLog({ dir: link })
  await log.createTopics(TOPICS)
  await append(log, 't', 0, ['a'])
  expect(await processes.start('set last transaction', { back: 1 }).exited).toBe(0)
  await append(log, 't', 0, ['b'])
  expect(await values(log, 't', 0)).toEqual(['a', 'b'])
  await log.close()
  rmSync(link)
})

test('a process that opens the folder sees the newest transaction, and so do running readers', LIMIT, async () => {
  await using processes = new Processes()
  const log = await openLmdbLog({ dir: processes.dir })
  await log.createTopics(TOPICS)
  for (const value of ['a', 'b', 'c']) await append(log, 't', 0, [value])
  expect(await processes.start('set last transaction', { back: 2 }).exited).toBe(0)
  const other = processes.start('attempt', { topic: 't', access: 'read' })
  expect(await other.exited, other.errors).toBe(0)
  expect(other.said[0]).toEqual({ records: 3 })
  expect(await values(log, 't', 0)).toEqual(['a', 'b', 'c'])
  await log.close()
})

test('processes that open and close the folder all the time cost writers nothing', LIMIT, async () => {
  await using processes = new Processes()
  const log = await openLmdbLog({ dir: processes.dir, durability: 'survives_kill_only' })
  await log.createTopics(TOPICS)
  const openers = [processes.start('open often', {}), processes.start('open often', {})]
  for (const opener of openers) await opener.says((said) => said.ready === true)
  const written: string[] = []
  const done = () => openers.every(({ said }) => said.some(({ opened }) => Number(opened) >= 400))
  while (!done() && written.length < 200_000) {
    const value = `value ${written.length}`
    await append(log, 't', 0, [value])
    written.push(value)
  }
  for (const opener of openers) expect(opener.errors).toBe('')
  expect(await values(log, 't', 0)).toEqual(written)
  await log.close()
})

test(
  'processes that open and close the folder at the same moment, while no other has it open, all succeed',
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics(TOPICS)
    await log.close()
    const openers = [1, 2, 3].map(() => processes.start('open often', {}))
    for (const opener of openers) await opener.says(({ opened }) => Number(opened) >= 500, 60_000)
    for (const opener of openers) expect(opener.errors).toBe('')
  },
)
