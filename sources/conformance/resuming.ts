import { expect } from 'vitest'
import { withTransactions } from '../../infra/log/conformance/altered-log.ts'
import {
  CommitOutcomeUnknownError,
  LogUnreachableError,
  TopicReplacedError,
  type Transaction,
} from '../../infra/log/port/log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { PARTITIONS, type Scene, type SourceCase, STEPS } from './driver.ts'
import { Sender } from './sender.ts'
import { append, expectOnce, expectSteps, firstSteps, idsIn, killedAt, stepsIn } from './steps.ts'

/** Each event once, whatever happens on the way. */
export const RESUMING: readonly SourceCase[] = [
  {
    name: 'every event is appended once, where its routing puts it, in the order in which the source emits it',
    async run(scene) {
      const sender = new Sender()
      expect(await append(scene, { sender })).toMatchObject({ done: STEPS, already: 0 })
      await expectSteps(scene, STEPS)
      if (scene.driver.door !== undefined) expect([...sender.confirmed]).toEqual(idsHandedIn(scene))
    },
  },
  {
    name: 'a step gives the same events whenever it is taken, alone or with others',
    applies: ({ kind }) => kind === 'repeatable',
    async run(scene) {
      const bytes = async (most: number) =>
        (await firstSteps(scene, STEPS, most)).map(({ type, event }) => [event.id, encodeEvent(type, event).value])
      const whole = await bytes(STEPS)
      expect(await bytes(1)).toEqual(whole)
      expect(await bytes(3)).toEqual(whole)
    },
  },
  {
    name: 'stopped after any commit and opened again, it appends the rest: no event twice, none missing',
    async run(scene) {
      const sender = new Sender()
      for (const until of [2, 3, 6]) {
        await append(scene, { until, sender })
        await expectSteps(scene, until)
      }
      expect(await append(scene, { sender })).toMatchObject({ already: 6, done: STEPS - 6 })
      await expectSteps(scene, STEPS)
      expect(await append(scene, { sender })).toMatchObject({ already: STEPS, done: 0, events: 0 })
      await expectSteps(scene, STEPS)
    },
  },
  {
    name: 'a commit that fails, before or after the log has written it, is retried: no event twice, none missing',
    async run(scene) {
      const failures = [
        async (transaction: Transaction) => {
          await transaction.abort()
          throw new LogUnreachableError('no answer')
        },
        async (transaction: Transaction) => {
          await transaction.commit()
          throw new CommitOutcomeUnknownError('the connection was lost')
        },
        async (transaction: Transaction) => {
          await transaction.abort()
          throw new CommitOutcomeUnknownError('the connection was lost before')
        },
      ]
      const log = withTransactions(scene.log, (transaction) => ({
        commit: () => (failures.shift() ?? ((one) => one.commit()))(transaction),
      }))
      const reports: string[] = []
      const sender = new Sender()
      await append(scene, { log, sender, report: (message) => reports.push(message) })
      expect(failures).toEqual([])
      expect(reports).toEqual([expect.stringContaining('no answer'), expect.stringMatching(/ goes on$/)])
      await expectSteps(scene, STEPS)
      if (scene.driver.door !== undefined) expect([...sender.confirmed]).toEqual(idsHandedIn(scene))
    },
  },
  {
    name: 'killed at any stage, it resumes with what is missing: nothing confirmed is lost, no event is duplicated',
    in_other_process: true,
    async run(scene) {
      const sender = new Sender()
      const source = await scene.driver.open(scene)
      for (const stage of ['taken', 'appending', 'committed']) {
        const before = new Set(sender.confirmed)
        expect(await killedAt(scene, stage, sender)).toBe(`killed: ${stage}`)
        const found = await idsIn(scene.log, source)
        const all = Object.values(found).flat()
        for (const id of sender.confirmed) expect(all).toContain(id)
        if (scene.driver.kind === 'repeatable') await expectSteps(scene, await stepsIn(scene.log, source))
        else if (scene.driver.door === undefined) expectOnce(found)
        // What was committed, and not confirmed before the kill, is handed in again under its id.
        else for (const id of before) expect(all.filter((one) => one === id)).toEqual([id])
      }
      if (scene.driver.door === undefined) {
        await append(scene)
        await expectSteps(scene, await stepsIn(scene.log, source))
        return
      }
      await append(scene, { sender, until: Number.POSITIVE_INFINITY })
      const all = Object.values(await idsIn(scene.log, source)).flat()
      expect([...new Set(all)].sort()).toEqual(idsHandedIn(scene).sort())
    },
  },
  {
    name: 'when its topic was deleted and recreated, a repeatable source refuses to continue, a live one continues',
    async run(scene) {
      const sender = new Sender()
      await append(scene, { until: 4, sender })
      const source = await scene.driver.open(scene)
      for (const { type } of source.types) await scene.logs.deleteTopic(type)
      await scene.log.createTopics(topicsOf(source.types, [], PARTITIONS))
      if (scene.driver.kind === 'repeatable') {
        const again = append(scene)
        await expect(again).rejects.toThrow(TopicReplacedError)
        await expect(again).rejects.toThrow(`positions reset --only 'source/${source.name}'`)
        expect(Object.values(await idsIn(scene.log, source)).flat()).toEqual([])
      } else {
        await append(scene, { sender })
        const found = await idsIn(scene.log, source)
        expectOnce(found)
        expect(new Set(Object.values(found).flat()).size).toBe(STEPS - 4)
      }
    },
  },
]

const idsHandedIn = ({ driver: { door } }: Scene) => Array.from({ length: STEPS }, (_, at) => door?.idOf(at) ?? '')
