import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import { RivalError } from '../../infra/runtime/work/resuming-producer.ts'
import { runSource, SourceFailedError } from '../run-source.ts'
import { PARTITIONS, type SourceCase, STEPS } from './driver.ts'
import { Sender } from './sender.ts'
import { append, eventually, expectSteps, onDemand, settled, stepsIn } from './steps.ts'

/** Fenced, paced, stopped, failing. */
export const BEHAVING: readonly SourceCase[] = [
  {
    name: 'of two sources with one name, one ends with an error that names the other, and no event is appended twice',
    async run(scene) {
      const sender = new Sender()
      const first = await scene.driver.open(scene)
      const pace = onDemand()
      sender.handIn(scene.driver, first)
      const running = runSource(first, { ...scene, partitions: PARTITIONS, pace })
      running.catch(() => {})
      pace.allow(2)
      await eventually(() => stepsIn(scene.log, first)).toBe(2)
      await append(scene, { until: 4, sender })
      pace.allow(2)
      const rivalry = settled(running, 'the earlier one')
      await expect(rivalry).rejects.toThrow(RivalError)
      await expect(rivalry).rejects.toThrow(`source/${first.name}: process ${process.pid} on `)
      await expectSteps(scene, 4)
    },
  },
  {
    name: 'no more is appended than the pace permits',
    async run(scene) {
      const source = await scene.driver.open(scene)
      new Sender().handIn(scene.driver, source)
      const [pace, stop] = [onDemand(), new AbortController()]
      const running = runSource(source, { ...scene, partitions: PARTITIONS, pace, signal: stop.signal })
      // Ends before it is stopped only with an error.
      const reach = (steps: number) => Promise.race([running, eventually(() => stepsIn(scene.log, source)).toBe(steps)])
      for (const [allowed, total] of [
        [3, 3],
        [1, 4],
      ] as const) {
        pace.allow(allowed)
        await reach(total)
        await wait(30)
        await expectSteps(scene, total)
      }
      stop.abort()
      await settled(running, 'the source')
    },
  },
  {
    name: 'stopped while its pace makes it wait, or while it waits for events, it ends at once',
    async run(scene) {
      for (const pace of [onDemand(), undefined]) {
        const source = await scene.driver.open(scene)
        const stop = new AbortController()
        const how = { ...scene, partitions: PARTITIONS, signal: stop.signal, ...(pace === undefined ? {} : { pace }) }
        const running = runSource(source, how)
        await wait(10)
        stop.abort()
        const { done } = await settled(running, 'the source')
        if (pace !== undefined) expect(done).toBe(0)
        await expectSteps(scene, await stepsIn(scene.log, source))
      }
      const source = await scene.driver.open(scene)
      const stop = new AbortController()
      const taking = source.take(0, { most: 1, signal: stop.signal })
      stop.abort(new Error('stopped'))
      await settled(
        taking.catch(() => undefined),
        'take',
      )
    },
  },
  {
    name: 'stopped at any stage of an append, what is reported as appended is in the log, and the rest follows',
    async run(scene) {
      const sender = new Sender()
      const source = await scene.driver.open(scene)
      for (const stage of ['taken', 'appending', 'committed'] as const) {
        const stop = new AbortController()
        const observe = (now: string) => {
          if (now === stage) stop.abort()
        }
        await settled(append(scene, { sender, signal: stop.signal, observe }), 'the source')
        await expectSteps(scene, await stepsIn(scene.log, source))
      }
      // Stopped at the last of these stages, a commit has been made: of one step or two.
      expect([1, 2]).toContain(await stepsIn(scene.log, source))
      await append(scene, { sender })
      await expectSteps(scene, STEPS)
    },
  },
  {
    name: 'an error of the source names it and the step; what was committed before stays, and it resumes there',
    async run(scene) {
      const sender = new Sender()
      const failing = {
        ...scene,
        driver: {
          ...scene.driver,
          async open(place: typeof scene) {
            const source = await scene.driver.open(place)
            const take = source.take.bind(source)
            source.take = async (from, how) => {
              if (from >= 2) throw new Error('the recorder was unplugged')
              return await take(from, how)
            }
            return source
          },
        },
      }
      const { name } = await scene.driver.open(scene)
      const run = append(failing, { sender })
      await expect(run).rejects.toThrow(SourceFailedError)
      await expect(run).rejects.toThrow(`source/${name}, step 2`)
      await expect(run).rejects.toThrow('the recorder was unplugged')
      await expectSteps(scene, 2)
      await append(scene, { sender })
      await expectSteps(scene, STEPS)
    },
  },
]
