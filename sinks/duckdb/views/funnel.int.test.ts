import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type MemoryLog, memoryLog } from '../../../infra/log/memory/memory-log.ts'
import type { Log } from '../../../infra/log/port/log.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { emptyTables } from '../../../testing/duckdb/empty-tables.ts'
import { append, createTopics, PARTITIONS, type Story } from '../../../testing/duckdb/recorded-tower.ts'
import { type DuckDbSink, openDuckDbSink } from '../duckdb-sink.ts'

let folder = ''
let log: MemoryLog
let sink: DuckDbSink
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'funnel-'))
  log = memoryLog()
  await createTopics(log)
  const file = await emptyTables(join(folder, 'test.duckdb'))
  sink = await openDuckDbSink({ file, log, catalogue, views, serve: false })
})
afterEach(async () => {
  await sink.close()
  rmSync(folder, { recursive: true, force: true })
})

async function ask(sql: string): Promise<unknown[][]> {
  const connection = await sink.connect()
  try {
    return (await connection.runAndReadAll(sql)).getRowsJson()
  } finally {
    connection.disconnectSync()
  }
}
/** index → fate, of one group's first sampled event. */
const fatesOf = async (group: string) =>
  Object.fromEntries(
    await ask(`SELECT completion_index, fate FROM completion_fates WHERE sampled_id = 'sampled-${group}' ORDER BY ALL`),
  )
const check = async () => (await ask('SELECT sampled, with_a_fate, lost, ahead, holds FROM funnel_check'))[0]
const everythingRead = (story: Story) => {
  for (let partition = 0; partition < PARTITIONS; partition += 1) story.read(partition, 1_000_000n)
  return story
}
const slots = (group: string, ...indices: number[]) => ({
  slots: Object.fromEntries(indices.map((index) => [index, { sampled_id: `sampled-${group}` }])),
})

test('each fate is found by its cause', async () => {
  await append(log, (story) =>
    everythingRead(story)
      .sampled('formed', [0, 1])
      .formed('formed', [1, 2])
      .sampled('expired', [0, 2])
      .expired('expired', [0, 2], [1])
      .sampled('turned', [0, 1, 2, 3, 4])
      .rejected('turned', 0, 'late')
      .rejected('turned', 1, 'mixed_attempt')
      .rejected('turned', 2, 'scorer_failed')
      .rejected('turned', 3, 'duplicate')
      .rejected('turned', 4, 'index_out_of_range')
      .sampled('dead', [0, 1])
      .dead('dead', 'sampled-dead')
      .sampled('held', [0, 5])
      .state('held', slots('held', 0, 5)),
  )
  await sink.loadOnce()
  expect(await fatesOf('formed')).toEqual({ 0: 'formed', 1: 'formed' })
  expect(await fatesOf('expired')).toEqual({ 0: 'expired', 2: 'expired' })
  expect(await fatesOf('turned')).toEqual({
    0: 'late',
    1: 'mixed_attempt',
    2: 'scorer_failed',
    3: 'duplicate',
    4: 'index_out_of_range',
  })
  expect(await fatesOf('dead')).toEqual({ 0: 'dead', 1: 'dead' })
  expect(await fatesOf('held')).toEqual({ 0: 'pending_held', 5: 'pending_held' })
  expect(await check()).toEqual(['13', '13', '0', '0', true])
})

test('a redelivery that becomes a dead letter does not change the fate of a completion that was accepted, or is not read yet', async () => {
  await append(log, (story) =>
    everythingRead(story)
      .sampled('held', [0])
      .state('held', slots('held', 0))
      .dead('held', 'sampled-held')
      .sampled('turned', [0])
      .rejected('turned', 0, 'duplicate')
      .dead('turned', 'sampled-turned')
      .sampled('dead', [0])
      .dead('dead', 'sampled-dead'),
  )
  await sink.loadOnce()
  expect(await fatesOf('held')).toEqual({ 0: 'pending_held' })
  expect(await fatesOf('turned')).toEqual({ 0: 'duplicate' })
  expect(await fatesOf('dead')).toEqual({ 0: 'dead' })
  expect(await check()).toEqual(['3', '3', '0', '0', true])
})

test('a completion is pending until form-groups has read it', async () => {
  await append(log, (story) => story.sampled('g', [0]))
  await sink.loadOnce()
  expect(await fatesOf('g')).toEqual({ 0: 'pending_unread' })
  await append(log, (story) => everythingRead(story).state('g', slots('g', 0)))
  await sink.loadOnce()
  expect(await fatesOf('g')).toEqual({ 0: 'pending_held' })
  await append(log, (story) => story.formed('g', [3]).state('g', { closed: 'formed', slots: {} }))
  await sink.loadOnce()
  expect(await fatesOf('g')).toEqual({ 0: 'formed' })
  await append(log, (story) => story.state('g', null))
  await sink.loadOnce()
  expect(await check()).toEqual(['1', '1', '0', '0', true])
})

test('a completion that was read and has no outcome is lost', async () => {
  await append(log, (story) => everythingRead(story).sampled('g', [0, 1]).state('g', slots('g', 1)))
  await sink.loadOnce()
  expect(await fatesOf('g')).toEqual({ 0: 'lost', 1: 'pending_held' })
  expect(await check()).toEqual(['2', '1', '1', '0', false])
})

test('an outcome whose completion is not loaded is ahead and outside the identity', async () => {
  await append(log, (story) =>
    everythingRead(story)
      .formed('g', [1, 2])
      .expired('h', [0], [1])
      .rejected('i', 0, 'late')
      .sampled('j', [0])
      .formed('j', [1]),
  )
  await sink.loadOnce()
  expect(await check()).toEqual(['1', '1', '0', '4', true])
})

test('a second copy of an event does not change the fate of the first', async () => {
  await append(log, (story) =>
    everythingRead(story).sampled('g', [0]).sampled('g', [0]).rejected('g', 0, 'duplicate').state('g', slots('g', 0)),
  )
  await sink.loadOnce()
  expect(await fatesOf('g')).toEqual({ 0: 'pending_held' })
  await append(log, (story) => story.formed('g', [1]).rejected('g', 0, 'late'))
  await sink.loadOnce()
  expect(await fatesOf('g')).toEqual({ 0: 'formed' })
})

test('nothing is lost at any moment of a load, whatever form-groups does meanwhile', { timeout: 120_000 }, async () => {
  const action = fc.record({
    group: fc.integer({ min: 0, max: 5 }).map((index) => `g${index}`),
    does: fc.constantFrom('sample', 'hold', 'form', 'expire', 'reject', 'die', 'load', 'load'),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(action, { minLength: 5, maxLength: 30 }),
      fc.integer({ min: 1, max: 4000 }),
      async (actions, batch_bytes) => {
        const log = memoryLog()
        await createTopics(log)
        const fold = new PretendFold(log)
        const seen: unknown[] = []
        const file = await emptyTables(join(folder, `${Math.floor(performance.now() * 1000)}.duckdb`))
        sink = await reopened(sink, {
          file,
          log,
          batch_bytes,
          observe: async () => {
            await fold.work() // the fold continues while the sink is in the middle of a pass
            const connection = await sink.connect()
            const [row] = (await connection.runAndReadAll('SELECT lost, holds FROM funnel_check')).getRowsJson()
            connection.disconnectSync()
            seen.push(row)
          },
        })
        for (const { group, does } of actions) does === 'load' ? await sink.loadOnce() : await fold.take(group, does)
        await sink.loadOnce()
        for (const row of seen) expect(row).toEqual(['0', true])
        expect((await check())?.slice(2)).toEqual(['0', '0', true])
      },
    ),
    { numRuns: 12, seed: 7 },
  )
})

async function reopened(
  before: DuckDbSink,
  options: { file: string; log: Log; batch_bytes: number; observe: () => unknown },
): Promise<DuckDbSink> {
  await before.close()
  return openDuckDbSink({ catalogue, views, serve: false, ...options })
}

/** Writes a log as form-groups does: reads completions in order, and commits output, state and position together. */
class PretendFold {
  readonly #log: MemoryLog
  readonly #wishes: { group: string; does: string }[] = []
  #sampled = 0
  constructor(log: MemoryLog) {
    this.#log = log
  }

  async take(group: string, does: string): Promise<void> {
    if (does === 'sample') {
      this.#sampled += 1
      const id = `${group}x${this.#sampled}`
      await append(this.#log, (story) => story.sampled(id, [0]))
      this.#wishes.push({ group: id, does: 'hold' })
      return
    }
    const held = this.#held.find((id) => id.startsWith(`${group}x`))
    if (held !== undefined) this.#wishes.push({ group: held, does })
    else await this.work()
  }
  readonly #held: string[] = []

  /** One step: one completion is read into the state, or leaves it. */
  async work(): Promise<void> {
    const wish = this.#wishes.shift()
    if (wish === undefined) return
    const { group, does } = wish
    if (does === 'hold') {
      this.#held.push(group)
      const partition = partitionOf(group, PARTITIONS)
      const { records } = await this.#log.read({
        topic: 'policy.completions_sampled',
        partition,
        from: 0n,
        max_bytes: 1e9,
      })
      const offset = records.find(({ key }) => key === group)?.offset ?? 0n
      const before = (await this.#log.committed('form-groups')).find((at) => at.partition === partition)?.next ?? 0n
      await append(this.#log, (story) =>
        story.state(group, slots(group, 0)).read(partition, offset + 1n > before ? offset + 1n : before),
      )
      return
    }
    if (!this.#held.includes(group)) return
    this.#held.splice(this.#held.indexOf(group), 1)
    await append(this.#log, (story) => {
      if (does === 'form') story.formed(group, [1])
      if (does === 'expire') story.expired(group, [0], [1])
      if (does === 'reject') story.rejected(group, 0, 'scorer_failed')
      if (does === 'die') story.dead(group, `sampled-${group}`)
      story.state(group, does === 'form' ? { closed: 'formed', slots: {} } : null)
    })
  }
}
