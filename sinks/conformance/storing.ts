import { expect } from 'vitest'
import { changed } from '../../infra/log/conformance/altered-log.ts'
import { LogUnreachableError } from '../../infra/log/port/log.ts'
import { append } from '../../testing/duckdb/recorded-tower.ts'
import type { SinkCase } from './driver.ts'
import {
  addGroups,
  caughtUp,
  expectAllStored,
  expectConsistent,
  failingAtEach,
  killedAt,
  loadAll,
  whileRunning,
} from './steps.ts'

/** Records and positions are stored together or not at all. */
export const STORING: readonly SinkCase[] = [
  {
    name: 'every event and dead letter is stored once, and in order within a partition',
    async run(scene) {
      await addGroups(scene, 0, 6)
      await append(scene.log, (story) => story.dead('g0', 'some-event'))
      await loadAll(scene)
      const { records } = await expectAllStored(scene)
      expect(records.some((place) => place.startsWith('dead_letters/'))).toBe(true)
      for (const [, some] of Map.groupBy(records, (place) => place.split('@')[0])) {
        const offsets = some.map((place) => Number(place.split('@')[1]))
        expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
      }
    },
  },
  {
    name: 'a reopened sink resumes where it was, and stores nothing twice',
    async run(scene) {
      await addGroups(scene, 0, 3)
      await loadAll(scene)
      const before = await expectAllStored(scene)
      expect(await loadAll(scene)).toBe(0)
      expect(await scene.driver.contents(scene.folder)).toEqual(before)
      await addGroups(scene, 3, 5)
      await loadAll(scene)
      await expectAllStored(scene)
    },
  },
  {
    name: 'an event that the log holds twice is stored as the driver declares',
    async run(scene) {
      await append(scene.log, (story) => story.sampled('g', [0]))
      await append(scene.log, (story) => story.sampled('g', [0]))
      await loadAll(scene)
      await append(scene.log, (story) => story.sampled('g', [0]))
      await loadAll(scene)
      const { records } = await scene.driver.contents(scene.folder)
      expect(records).toHaveLength(scene.driver.repeated_event === 'once' ? 1 : 3)
    },
  },
  {
    name: 'a commit that fails at any stage is retried, and stores nothing twice',
    async run(scene) {
      await addGroups(scene, 0, 6)
      const { failing, observe } = failingAtEach(scene.driver.stages)
      const sink = await scene.driver.open(scene.folder, { ...scene, observe })
      await whileRunning([sink], () => caughtUp(sink))
      expect(sink.health).toMatchObject({ trouble: undefined, retries: scene.driver.stages.length })
      await sink.close()
      expect(failing).toEqual([])
      await expectAllStored(scene)
    },
  },
  {
    name: 'killed at any stage of a commit, records and positions agree, and the next process completes them',
    in_other_process: true,
    async run(scene) {
      await addGroups(scene, 0, 8)
      for (const stage of scene.driver.stages) {
        expect(await killedAt(scene, stage, 2)).toBe(`killed: ${stage}`)
        await expectConsistent(scene)
      }
      await loadAll(scene)
      await expectAllStored(scene)
    },
  },
  {
    name: 'an aborted load keeps what it has committed, and reports that more is left',
    async run(scene) {
      await addGroups(scene, 0, 6)
      const stop = new AbortController()
      const sink = await scene.driver.open(scene.folder, { ...scene, observe: () => stop.abort() })
      expect(await sink.loadOnce(stop.signal)).toMatchObject({ caught_up: false })
      await sink.close()
      expect((await expectConsistent(scene)).records.length).toBeGreaterThan(0)
      await loadAll(scene)
      await expectAllStored(scene)
    },
  },
  {
    name: 'a page that is read again after a failure of the log is stored once',
    async run(scene) {
      await addGroups(scene, 0, 6)
      let failures = 3
      const log = changed(scene.log, {
        read: async (request) => {
          const page = await scene.log.read(request)
          if (request.from > 0n && failures-- > 0) throw new LogUnreachableError('connection reset')
          return page
        },
      })
      const sink = await scene.driver.open(scene.folder, { ...scene, log })
      await whileRunning([sink], () => caughtUp(sink))
      await sink.close()
      expect([failures < 0, sink.health.retries > 0]).toEqual([true, true])
      await expectAllStored(scene)
    },
  },
]
