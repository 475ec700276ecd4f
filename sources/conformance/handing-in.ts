import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import { withTransactions } from '../../infra/log/conformance/altered-log.ts'
import { IdTakenError, NotCommittedError, type PushSource } from '../push-source.ts'
import { runSource } from '../run-source.ts'
import { type DoorDriver, PARTITIONS, type Scene, type SourceCase } from './driver.ts'
import { idsIn, settled } from './steps.ts'

const applies: SourceCase['applies'] = ({ door }) => door !== undefined

async function opened(scene: Scene): Promise<{ source: PushSource; door: DoorDriver }> {
  return { source: (await scene.driver.open(scene)) as PushSource, door: scene.driver.door as DoorDriver }
}

/** A source that is handed events confirms each of them, and holds few. */
export const HANDING_IN: readonly SourceCase[] = [
  {
    name: 'an event that is handed in is confirmed after its commit, not before; and refused when the source stops first',
    applies,
    async run(scene) {
      const { source, door } = await opened(scene)
      const gate = Promise.withResolvers<void>()
      const log = withTransactions(scene.log, (transaction) => ({
        commit: async () => {
          await gate.promise
          await transaction.commit()
        },
      }))
      const stop = new AbortController()
      const running = runSource(source, { ...scene, log, partitions: PARTITIONS, signal: stop.signal })
      const idsAtConfirmation = door
        .hand(source, 0)
        .then(async () => Object.values(await idsIn(scene.log, source)).flat())
      expect(await Promise.race([idsAtConfirmation, wait(50, 'not confirmed yet')])).toBe('not confirmed yet')
      const late = door.hand(source, 1)
      stop.abort()
      gate.resolve()
      await settled(running, 'the source')
      expect(await settled(idsAtConfirmation, 'the confirmation')).toEqual([door.idOf(0)])
      await expect(settled(late, 'the refusal')).rejects.toThrow(NotCommittedError)
      await expect(settled(door.hand(source, 2), 'the refusal')).rejects.toThrow(NotCommittedError)
    },
  },
  {
    name: 'it buffers a bounded number of bytes; events beyond that wait with their sender, and follow in order',
    applies,
    async run(scene) {
      const { source, door } = await opened(scene)
      const bound = door.max_bytes + door.event_bytes
      const ids = Array.from({ length: 40 }, (_, at) => door.idOf(at))
      const confirmed: string[] = []
      const handed = ids.map((id, at) => door.hand(source, at).then(() => confirmed.push(id)))
      expect(source.waiting_bytes).toBeGreaterThan(0)
      expect(source.waiting_bytes).toBeLessThan(bound)
      source.end()
      let most = 0
      const observe = () => {
        most = Math.max(most, source.waiting_bytes)
      }
      await runSource(source, { ...scene, partitions: PARTITIONS, observe })
      await Promise.all(handed)
      expect(confirmed).toEqual(ids)
      expect(most).toBeLessThan(bound)
      expect(source.waiting_bytes).toBe(0)
    },
  },
  {
    name: 'the same event handed in twice while it waits is one, and another one under its id is refused',
    applies,
    async run(scene) {
      const { source, door } = await opened(scene)
      const twice = [door.hand(source, 0), door.hand(source, 0)]
      await expect(settled(door.handAnother(source, 0), 'the refusal')).rejects.toThrow(IdTakenError)
      source.end()
      await runSource(source, { ...scene, partitions: PARTITIONS })
      await Promise.all(twice)
      expect(Object.values(await idsIn(scene.log, source)).flat()).toEqual([door.idOf(0)])
    },
  },
]
