import { expect, test } from 'vitest'
import { z } from 'zod'
import { type Answer, type Effect, isA } from '../../../processors/processor.ts'
import { defineEvent, type Event, type EventType } from '../../../schemas/declare/event.ts'
import { int64, utf8 } from '../../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { modelPublished } from '../../../schemas/events/model.ts'
import { decodeEvent } from '../../../schemas/wire/codec.ts'
import { runSource } from '../../../sources/run-source.ts'
import { type Emitted, inSteps } from '../../../sources/source.ts'
import { recordsOf } from '../../../testing/counting.ts'
import { published } from '../../../testing/published-model.ts'
import { example } from '../../../testing/test-driver.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { withShortPolls } from '../../log/conformance/altered-log.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { topicsOf } from '../state/topics.ts'
import { effectWorker } from './effect-worker.ts'

/** An effect whose calls depend on what every partition knows, and one that is asked by what every partition gets. */

const PARTITIONS = 3
const shared = { version: 1, key: 'who', encoding: 'json', about: '' } as const
const asked = defineEvent({ ...shared, type: 'test.asked', retention: 'source', row: { who: utf8() } })
const told = defineEvent({
  ...shared,
  type: 'test.told',
  retention: 'recorded',
  row: { who: utf8(), version: int64() },
})
const balked = defineEvent({ ...shared, type: 'test.balked', retention: 'recorded', row: { who: utf8() } })
const EVENTS: readonly EventType[] = [asked, told, balked, modelPublished, clockTicked]
const vocabulary = catalogueOf(EVENTS)
const MANY = Array.from({ length: 12 }, (_, at) => `who-${at}`)
const DUE = { clock: 'virtual', time: '2027-01-02T00:00:00.000Z' } as const

const effect: Omit<Effect<string, number>, 'inputs' | 'plan'> = {
  ...{ shape: 'effect', name: 'tell', version: 1, about: '', variant: [], produces: 'facts', outputs: [told, balked] },
  state: { version: 1, schema: z.string() },
  per_call: () => 1,
  call: async ({ request }, { broadcast }) => [{ index: 0, row: { who: request, version: broadcast ?? 0 } }],
}
const planOf = (event: Event) => ({ attempt_id: event.id, wanted: 1, request: event.key, deadline: DUE })

/** Tells the latest version, once there is one. */
const telling: Effect<string, number> = {
  ...effect,
  inputs: [asked],
  broadcast: {
    ...{ name: 'latest', inputs: [modelPublished], version: 1, schema: z.int(), initial: 0 },
    needed: { about: 'a model', isThere: (version) => version > 0 },
    apply: (state, event) => (isA(event, modelPublished) ? Math.max(state, event.data.version) : state),
  },
  plan: (event) => (isA(event, asked) ? planOf(event) : undefined),
}

class Lab {
  readonly broker = new MemoryBroker()
  readonly notices: string[] = []
  #steps = 0

  static async open(): Promise<Lab> {
    const lab = new Lab()
    await memoryLog({ broker: lab.broker }).createTopics(topicsOf(EVENTS, [{ name: 'tell' }], PARTITIONS))
    return lab
  }

  async append(...events: readonly (readonly [EventType, unknown])[]): Promise<void> {
    const emitted = events.map(([type, event]) => ({ type, event }) as Emitted)
    const types = [asked, modelPublished]
    const source = inSteps({ name: `test-${this.#steps++}`, types, steps: 1, produce: async () => emitted })
    await runSource(source, {
      ...{ log: memoryLog({ broker: this.broker }), blobs: memoryBlobs(), partitions: PARTITIONS },
    })
  }

  ask = () => this.append(...MANY.map((who) => [asked, example(asked, { who }, { id: `asked-${who}` })] as const))
  publish = (version: number) =>
    this.append([modelPublished, published({ model_id: `m${version}`, version }, { id: `v${version}` })])

  async run(processor: Effect<string, number>, limits = {}): Promise<void> {
    const stop = new AbortController()
    const worker = effectWorker({
      ...{ log: withShortPolls(memoryLog({ broker: this.broker })), blobs: memoryBlobs(), processor, vocabulary },
      ...{ partitions: PARTITIONS, instance: `${performance.now()}` },
      onEvent: (event) => event.kind === 'notice' && this.notices.push(event.message),
      tuning: { commit_interval_ms: 5, session_timeout_ms: 2_000 },
      outside: {
        http: { post: () => Promise.reject(new Error('not used')) },
        limits: { waits: { first_ms: 5, longest_ms: 20, permanent_ms: 20 }, ...limits },
      },
    })
    const running = worker.run(stop.signal)
    for (let quiet = 0; quiet < 5; quiet = worker.idle ? quiet + 1 : 0) {
      await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 20))])
    }
    stop.abort()
    await running
  }

  async recorded(type: EventType): Promise<Record<string, unknown>[]> {
    const records = await recordsOf(memoryLog({ broker: this.broker }), type.type)
    return records.map((record) => decodeEvent(record, vocabulary).data as unknown as Record<string, unknown>)
  }

  versions = async () => [...new Set((await this.recorded(told)).map(({ version }) => version))]
}

test('the calls of an effect know its broadcast state, also after a restart', async () => {
  const lab = await Lab.open()
  await lab.publish(1)
  await lab.run(telling)
  await lab.ask()
  await lab.run(telling)
  expect(await lab.recorded(told)).toHaveLength(MANY.length)
  expect(await lab.versions()).toEqual([1])
})

test('calls wait for what the broadcast state lacks, and until then the worker is idle', async () => {
  const lab = await Lab.open()
  await lab.ask()
  await lab.run(telling)
  expect(await lab.recorded(told)).toEqual([])
  expect(lab.notices).toEqual([`${MANY.length} wait for a model`])
  await lab.publish(2)
  await lab.run(telling)
  expect(await lab.versions()).toEqual([2])
  expect(await lab.recorded(told)).toHaveLength(MANY.length)
})

test('the broadcast state is read on while so many wait for it that no more requests are taken', async () => {
  const lab = await Lab.open()
  await lab.ask()
  const running = lab.run(telling, { max_waiting: 1 })
  await new Promise((resolve) => setTimeout(resolve, 200))
  await lab.publish(3)
  await running
  await lab.run(telling, { max_waiting: 1 })
  expect(await lab.recorded(told)).toHaveLength(MANY.length)
})

test('an effect is asked once by an event that every partition gets', async () => {
  const lab = await Lab.open()
  for (const version of [1, 2, 3, 4, 5]) await lab.publish(version)
  const plan: Effect<string, number>['plan'] = (event) => (isA(event, modelPublished) ? planOf(event) : undefined)
  await lab.run({ ...effect, inputs: [modelPublished], plan })
  expect((await lab.recorded(told)).map(({ who }) => who).sort()).toEqual(['m1', 'm2', 'm3', 'm4', 'm5'])
})

test('a result may be of another type than the first, and of none that the effect does not declare', async () => {
  const lab = await Lab.open()
  await lab.ask()
  const of = (who: string): Answer => ({ index: 0, row: { who }, type: who === 'who-3' ? 'test.asked' : balked.type })
  const { broadcast: _, ...free } = telling
  await lab.run({ ...free, call: async ({ request }) => [of(request)] })
  expect(await lab.recorded(told)).toEqual([])
  const balking = (await lab.recorded(balked)).map(({ who }) => who)
  expect(balking.sort()).toEqual(MANY.filter((who) => who !== 'who-3').sort())
  expect(lab.notices.join()).toContain('a result is a test.asked, which its effect does not declare as an output')
})
