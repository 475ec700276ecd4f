import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { changed } from '../../infra/log/conformance/altered-log.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { LogUnreachableError } from '../../infra/log/port/log.ts'
import { retryOf } from '../../infra/retry.ts'
import { append, createTopics } from '../../testing/duckdb/recorded-tower.ts'
import type { SinkCase } from './driver.ts'
import {
  addGroups,
  appendLarge,
  caughtUp,
  eventually,
  expectAllStored,
  expectConsistent,
  failureOf,
  loadAll,
  mountable,
  whileRunning,
} from './steps.ts'

const SAMPLED = 'policy.completions_sampled'

/** What fails, is slow, or is another log. */
export const ENDURING: readonly SinkCase[] = [
  {
    name: 'the lag counts what is not stored yet, and is 0 after loading',
    async run(scene) {
      const sink = await scene.driver.open(scene.folder, scene)
      expect(await sink.lag()).toBe(0n)
      await addGroups(scene, 0, 3)
      const lag = await sink.lag()
      expect(lag).toBeGreaterThanOrEqual(12n)
      await sink.loadOnce()
      expect(await sink.lag()).toBe(0n)
      await sink.close()
    },
  },
  {
    name: 'an unavailable log or blob store is reported once and retried, and nothing is lost',
    async run(scene) {
      await appendLarge(scene)
      const store = { is_away: true }
      const blobs = mountable(scene.blobs, store)
      let unreachable = true
      const log = changed(scene.log, {
        endOffsets: async (topic) => {
          if (unreachable) throw new LogUnreachableError('no answer')
          return await scene.log.endOffsets(topic)
        },
      })
      const messages: string[] = []
      const report = (message: string) => messages.push(message)
      const sink = await scene.driver.open(scene.folder, { log, blobs, report })
      await whileRunning([sink], async () => {
        await eventually(() => sink.health.trouble).toContain('no answer')
        unreachable = false
        await eventually(() => sink.health.trouble).toContain('not mounted')
        const failure = await failureOf(sink.loadOnce())
        expect([retryOf(failure), failure.message]).toEqual(['later', expect.stringContaining(`${SAMPLED} partition`)])
        store.is_away = false
        await caughtUp(sink)
        await eventually(() => sink.health.trouble).toBeUndefined()
      })
      expect(sink.health.unreadable).toEqual({})
      await sink.close()
      expect(messages).toEqual([expect.stringContaining('no answer'), expect.stringMatching(/loads again$/)])
      await expectAllStored(scene)
    },
  },
  {
    name: 'a record that is not an event is skipped, counted and named; the others are stored',
    async run(scene) {
      await append(scene.log, (story) => {
        story.sampled('g', [0])
        story.raw(SAMPLED, 0, { key: 'g', headers: [], value: Buffer.from('not an event') })
        story.sampled('h', [0])
      })
      const messages: string[] = []
      const report = (message: string) => messages.push(message)
      const sink = await scene.driver.open(scene.folder, { ...scene, report })
      expect(await sink.loadOnce()).toMatchObject({ caught_up: true })
      expect(sink.health.unreadable).toEqual({ [SAMPLED]: 1 })
      expect(messages).toEqual([expect.stringContaining(sink.unreadableText(1))])
      await sink.close()
      const again = await scene.driver.open(scene.folder, scene)
      await again.loadOnce()
      expect(again.health.unreadable).toEqual({ [SAMPLED]: 1 })
      await again.close()
      const { records, unreadable } = await expectConsistent(scene)
      expect([records.length, unreadable.length]).toEqual([2, 1])
    },
  },
  {
    name: 'a topic that was deleted and recreated is refused, and nothing of it is stored',
    async run(scene) {
      await addGroups(scene, 0, 2)
      const sink = await scene.driver.open(scene.folder, scene)
      await sink.loadOnce()
      await scene.logs.deleteTopic(SAMPLED)
      const log = await scene.logs.open()
      await createTopics(log)
      await addGroups({ log }, 2, 6)
      await sink.close()
      const opened = await scene.driver.open(scene.folder, { ...scene, log })
      const failure = await failureOf(opened.loadOnce())
      expect(failure.message).toMatch(new RegExp(`${SAMPLED} partition \\d .*made again.*from the log`))
      expect(retryOf(failure)).toBe('never')
      await opened.close()
      expect((await scene.driver.contents(scene.folder)).records).toHaveLength(8)
    },
  },
  {
    name: 'another log is refused, and nothing of it is stored',
    async run(scene) {
      await addGroups(scene, 0, 2)
      await loadAll(scene)
      const other = memoryLog()
      await createTopics(other)
      await addGroups({ log: other }, 0, 4)
      const sink = await scene.driver.open(scene.folder, { ...scene, log: other })
      const failure = await failureOf(sink.loadOnce())
      expect([failure.message, retryOf(failure)]).toEqual([expect.stringContaining('another log'), 'never'])
      await sink.close()
      await expectAllStored(scene)
    },
  },
  {
    name: 'a place has one writer: a second one is refused, and can open it once the first has closed it',
    async run(scene) {
      const first = await scene.driver.open(scene.folder, scene)
      expect(retryOf(await failureOf(scene.driver.open(scene.folder, scene)))).toBe('later')
      await first.close()
      await first.close()
      await loadAll(scene)
    },
  },
  {
    name: 'a sink that is slow delays no other sink, and loses nothing',
    async run(scene) {
      const folders = ['slow', 'quick'].map((name) => join(scene.folder, name))
      for (const folder of folders) await mkdir(folder)
      const [of_slow = '', of_quick = ''] = folders
      const gate = Promise.withResolvers<void>()
      const slow = await scene.driver.open(of_slow, { ...scene, observe: () => gate.promise })
      const quick = await scene.driver.open(of_quick, scene)
      await whileRunning([slow, quick], async () => {
        await addGroups(scene, 0, 3)
        await caughtUp(quick)
        gate.resolve()
        await caughtUp(slow)
      })
      await Promise.all([slow, quick].map((sink) => sink.close()))
      for (const folder of folders) await expectAllStored({ ...scene, folder })
    },
  },
]
