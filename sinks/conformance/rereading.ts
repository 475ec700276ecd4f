import { expect } from 'vitest'
import type { LogRecord } from '../../infra/log/port/log.ts'
import { skipRecord } from '../../infra/runtime/internal/skipped-records.ts'
import { append } from '../../testing/duckdb/recorded-tower.ts'
import type { SinkCase } from './driver.ts'
import {
  addGroups,
  appendLarge,
  eventually,
  expectAllStored,
  expectConsistent,
  failingAtEach,
  killedAt,
  loadAll,
  mountable,
  whileRunning,
} from './steps.ts'

const SAMPLED = 'policy.completions_sampled'

/** A record that is unreadable now, and readable later. */
export const REREADING: readonly SinkCase[] = [
  {
    name: 'a missing blob makes its record unreadable, not the sink; once the blob is back, it is stored once',
    async run(scene) {
      const { takeAway, bringBack } = await appendLarge(scene)
      await takeAway()
      const sink = await scene.driver.open(scene.folder, scene)
      expect(await sink.loadOnce()).toMatchObject({ caught_up: true })
      expect(sink.health.unreadable).toEqual({ [SAMPLED]: 1 })
      expect(await sink.loadOnce()).toMatchObject({ records: 0 })
      await sink.close()
      const { records, unreadable } = await expectConsistent(scene)
      expect([records.length, unreadable.length]).toEqual([2, 1])
      await bringBack()
      expect(await loadAll(scene)).toBe(1)
      await expectAllStored(scene)
      expect(await loadAll(scene)).toBe(0)
      await expectAllStored(scene)
    },
  },
  {
    name: 'a running sink reads unreadable records again, and reports when it has stored them',
    async run(scene) {
      const { takeAway, bringBack } = await appendLarge(scene)
      await takeAway()
      const messages: string[] = []
      const report = (message: string) => messages.push(message)
      const sink = await scene.driver.open(scene.folder, { ...scene, report })
      await whileRunning([sink], async () => {
        await eventually(() => sink.health.unreadable).toEqual({ [SAMPLED]: 1 })
        await bringBack()
        await eventually(() => sink.health.unreadable).toEqual({})
      })
      expect(sink.health.retries).toBe(0)
      await sink.close()
      expect(messages).toEqual([
        expect.stringContaining(sink.unreadableText(1)),
        expect.stringContaining('has loaded or skipped 1 of the records that it could not read'),
      ])
      await expectAllStored(scene)
    },
  },
  {
    name: 'killed at any stage of storing a record that became readable, it is stored or listed, and then stored once',
    in_other_process: true,
    async run(scene) {
      for (const [at, stage] of scene.driver.stages.entries()) {
        const { takeAway, bringBack } = await appendLarge(scene, `large-${at}`)
        await takeAway()
        await loadAll(scene)
        await bringBack()
        expect(await killedAt(scene, stage, 1)).toBe(`killed: ${stage}`)
        const { unreadable } = await expectConsistent(scene)
        expect(unreadable).toHaveLength(stage === scene.driver.stages.at(-1) ? 0 : 1)
        await loadAll(scene)
        await expectAllStored(scene)
      }
    },
  },
  {
    name: 'a commit that fails while unreadable records are read again is retried, and stores nothing twice',
    async run(scene) {
      const { takeAway, bringBack } = await appendLarge(scene)
      await takeAway()
      await loadAll(scene)
      await bringBack()
      const { failing, observe } = failingAtEach(scene.driver.stages)
      const sink = await scene.driver.open(scene.folder, { ...scene, observe })
      await whileRunning([sink], () => eventually(() => failing).toEqual([]))
      await sink.close()
      await expectAllStored(scene)
    },
  },
  {
    name: 'while the blob store is unavailable, unreadable records stay listed, and new ones are stored',
    async run(scene) {
      const { takeAway, bringBack } = await appendLarge(scene)
      await takeAway()
      const store = { is_away: false }
      const sink = await scene.driver.open(scene.folder, { ...scene, blobs: mountable(scene.blobs, store) })
      await sink.loadOnce()
      await bringBack()
      store.is_away = true
      await addGroups(scene, 0, 2)
      expect(await sink.loadOnce()).toMatchObject({ caught_up: true })
      expect(sink.health.unreadable).toEqual({ [SAMPLED]: 1 })
      store.is_away = false
      await sink.loadOnce()
      expect(sink.health.unreadable).toEqual({})
      await sink.close()
      await expectAllStored(scene)
    },
  },
  {
    name: 'a record that an operator has every reader skip is no longer listed, also one that retention removed',
    async run(scene) {
      const { log } = scene
      await append(log, (story) => story.sampled('g', [0]).sampled('g', [0]))
      const partition = (await log.endOffsets(SAMPLED)).findIndex((end) => end > 0n)
      const [removed] = (await log.read({ topic: SAMPLED, partition, from: 0n, max_bytes: 1 })).records as [LogRecord]
      await log.deleteBefore(SAMPLED, partition, removed.offset + 1n)
      await append(log, (story) => story.raw(SAMPLED, 1 - partition, { key: 'g', headers: [], value: null }))
      await loadAll(scene)
      expect((await scene.driver.contents(scene.folder)).unreadable).toHaveLength(2)
      const from = { topic: SAMPLED, partition: 1 - partition, from: 0n, max_bytes: 1 }
      const [foreign] = (await log.read(from)).records as [LogRecord]
      await skipRecord(log, foreign, 'a test')
      await skipRecord(log, { topic: SAMPLED, partition, offset: 0n }, 'a test')
      await loadAll(scene)
      const { records, unreadable } = await scene.driver.contents(scene.folder)
      expect([records.length, unreadable]).toEqual([1, []])
    },
  },
  {
    name: 'thousands of unreadable records are read again in rounds, and those that can be are stored',
    async run(scene) {
      const count = 1_100
      await append(scene.log, (story) => {
        for (let at = 0; at < count; at++) story.raw(SAMPLED, at % 2, { key: 'k', headers: [], value: null })
      })
      const { takeAway, bringBack } = await appendLarge(scene)
      await takeAway()
      const sink = await scene.driver.open(scene.folder, scene)
      await sink.loadOnce()
      expect(sink.health.unreadable).toEqual({ [SAMPLED]: count + 1 })
      await bringBack()
      await sink.loadOnce()
      expect(sink.health.unreadable).toEqual({ [SAMPLED]: count })
      await sink.close()
      const { records } = await expectConsistent(scene)
      expect(records).toHaveLength(3)
    },
  },
]
