import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { random } from '../../environments/tower/random.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { headerOf, readRange } from '../../infra/runtime/internal/json-records.ts'
import { duckdbFile, openDataFolder, openLogForReading } from '../../pipeline/data-folder.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { groupFormed, rolloutRequested } from '../../schemas/events/rollout.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { requested } from '../tower-events.ts'
import { programsOf } from './crew.ts'
import { POLICY, wiring } from './data.ts'
import { Heard } from './heard.ts'
import { prepareModel } from './model.ts'
import { type Place, WORKERS } from './places.ts'
import type { Planted } from './planted.ts'
import { type At, plumbline, plumblineOk, sql } from './program.ts'
import { Slot } from './slot.ts'

/** The topic of the requests is deleted and recreated, with other requests, more in each partition than before. */
export interface MadeAgain {
  readonly kind: 'topic made again'
  /** Whether workers and sink run meanwhile; otherwise they start afterwards. */
  readonly running: boolean
}

const TOPIC = rolloutRequested.type
const GROUPS = 'made again'
const PATIENCE_MS = 120_000

const GONE = /deleted and made again|expected a topic that exists|was loaded from another log/
const REMEDIES = { workers: /positions reset --only/, sink: /was loaded from another log than .*Delete the file/s }

export const madeAgainOf = (seed: string): MadeAgain => ({
  kind: 'topic made again',
  running: random('made again', seed).uniform() < 0.5,
})

export const tellMadeAgain = ({ running }: MadeAgain) =>
  `${TOPIC} is deleted and made again ${running ? 'under running processes' : 'while none runs'}`

export interface MadeAgainOptions {
  readonly root: string
  readonly at: At
  readonly planted: readonly Planted[]
  readonly fault: MadeAgain
  readonly deleteTopic: (topic: string) => Promise<void>
}

/**
 * Strikes a log whose work is finished. Workers and sink must stop and name the remedy, and process nothing of the new
 * topic; after the remedy every new request is processed exactly once.
 *
 * @returns breaches
 */
export async function makeTopicAgain(
  options: MadeAgainOptions,
  counts: Record<string, number>,
): Promise<readonly string[]> {
  const { at, fault } = options
  const folder = await openDataFolder(dataOf(at), { create: false })
  await prepareModel(folder.log)
  await folder.close()
  const breaches: string[] = []
  const running = new Processes(options)
  const again = new Processes(options)
  let made = 0
  try {
    if (fault.running) await running.start()
    made = await remake(options)
    // Running processes may meet the topic while it is not there.
    if (fault.running) breaches.push(...(await running.stopped({ workers: GONE, sink: GONE })))
    if (breaches.length === 0) {
      await again.start()
      breaches.push(...(await again.stopped(REMEDIES)))
    }
    breaches.push(...(await processedEarly(at)))
    if (breaches.length > 0) return breaches
  } finally {
    await running.kill()
    await again.kill()
  }
  counts['requests of the topic that was made again'] = made
  await plumblineOk(at, ['positions', 'reset'])
  const file = duckdbFile(at.data)
  for (const end of ['', '.wal']) rmSync(`${file}${end}`, { force: true })
  await plumblineOk(at, ['run', '--until-idle', '--policy', POLICY])
  return await afterRemedy(at, made)
}

async function remake({ at, deleteTopic }: MadeAgainOptions): Promise<number> {
  const before = await openLogForReading(dataOf(at))
  const left = (await before.endOffsets(TOPIC)).map((end) => Number(end) + 2)
  await before.close()
  await deleteTopic(TOPIC)
  const folder = await openDataFolder(dataOf(at), { create: false })
  try {
    await prepareLog(folder, await wiring())
    return await requestAgain(folder.log, left)
  } finally {
    await folder.close()
  }
}

/** @param left how many requests to append, by partition. @returns how many there are */
async function requestAgain(log: Log, left: number[]): Promise<number> {
  const producer = await log.producer({ transactional_id: 'made again' })
  let made = 0
  while (left.some((count) => count > 0)) {
    const transaction = producer.begin()
    // Small enough for a transaction of every log.
    for (let i = 0; i < 500 && left.some((count) => count > 0); i++) {
      const group_id = `${GROUPS} ${made++}`
      const event = requested({ group_id, group_size: 1 }, group_id)
      const partition = partitionOf(event.key, left.length)
      const { key, headers, value } = encodeEvent(rolloutRequested, event as Event)
      transaction.append(TOPIC, partition, { key, headers, value })
      left[partition] = (left[partition] as number) - 1
    }
    await transaction.commit()
  }
  await producer.close()
  return made
}

/** Workers and the sink, which are not started again when they end. */
class Processes {
  readonly #heard = new Heard()
  readonly #slots: readonly Slot[]
  readonly #ended = new Map<Place, string>()

  constructor({ root, at, planted }: MadeAgainOptions) {
    const { worker, sink } = programsOf({ root, data: at.data, planted })
    this.#slots = [...WORKERS, 'sink' as const].map((place) => {
      const slot: Slot = new Slot({
        place,
        program: () => (place === 'sink' ? sink : worker),
        env: { NO_COLOR: '1', ...(at.log === undefined ? {} : { PLUMBLINE_LOG: at.log }) },
        output: join(root, `${place}.again.log`),
        onStart: () => {},
        onMessage: (message) => this.#heard.add({ place, pid: slot.pid, message }),
        onUnasked: ({ errors }) => {
          this.#ended.set(place, errors)
          return false
        },
        onDone: () => {},
      })
      return slot
    })
  }

  /** Resolves when a worker has restored its partitions, or when one has ended. */
  async start(): Promise<void> {
    for (const slot of this.#slots) slot.start()
    for (let waited_ms = 0; waited_ms < PATIENCE_MS && this.#ended.size === 0; waited_ms += 500) {
      const taken = await this.#heard.first(0, 500, ({ message: { says } }) => says === 'restored')
      if (taken !== undefined) return
    }
  }

  /** Waits until every process has ended. @returns breaches */
  async stopped(says: { readonly workers: RegExp; readonly sink: RegExp }): Promise<string[]> {
    for (let waited_ms = 0; this.#ended.size < this.#slots.length; waited_ms += 100) {
      if (waited_ms > PATIENCE_MS) break
      // A worker that processes the new topic does not stop either: there is no need to wait for that.
      if (this.#heard.since(0).some(({ message }) => message.says === 'committed' && message.processor === READER))
        break
      await wait(100)
    }
    const breaches: string[] = []
    for (const place of [...WORKERS, 'sink' as const]) {
      const errors = this.#ended.get(place)
      const expected = place === 'sink' ? says.sink : says.workers
      if (errors === undefined) breaches.push(`${place} goes on in ${TOPIC}, which was made again`)
      else if (!expected.test(errors)) breaches.push(`${place} stopped, expected ${expected}: ${errors.trim()}`)
    }
    return breaches
  }

  async kill(): Promise<void> {
    for (const slot of this.#slots) await slot.kill()
  }
}

/** The processor that reads the topic and acts on each record. */
const READER = 'sample-completions'

const dataOf = ({ data, log }: At) => ({ data, ...(log === undefined ? {} : { log }) })

/** Outputs for the new requests, by event: how often each id is in the log. */
async function outputsOf(log: Log, type: string): Promise<Map<string, number>> {
  const times = new Map<string, number>()
  for (const partition of (await log.endOffsets(type)).keys()) {
    for await (const record of readRange(log, type, partition, 0n)) {
      if (!record.key?.startsWith(GROUPS)) continue
      const id = headerOf(record, 'ce_id') ?? ''
      times.set(id, (times.get(id) ?? 0) + 1)
    }
  }
  return times
}

async function processedEarly(at: At): Promise<string[]> {
  const log = await openLogForReading(dataOf(at))
  try {
    const { size } = await outputsOf(log, completionsSampled.type)
    return size === 0 ? [] : [`${size} requests of ${TOPIC} were processed before the remedy, from the middle`]
  } finally {
    await log.close()
  }
}

async function afterRemedy(at: At, made: number): Promise<string[]> {
  const breaches: string[] = []
  const log = await openLogForReading(dataOf(at))
  try {
    for (const { type } of [completionsSampled, completionsScored, groupFormed]) {
      const times = await outputsOf(log, type)
      const twice = [...times.values()].filter((count) => count > 1).length
      if (times.size === made && twice === 0) continue
      breaches.push(`${type} after the remedy: expected ${made} new events, got ${times.size}, ${twice} of them twice`)
    }
  } finally {
    await log.close()
  }
  const [found] = await sql<{ asked: number; formed: number; groups: number; lost: number }>(
    at,
    `select (select count(*)::int from ${TOPIC} where group_id like '${GROUPS}%') as asked,
      (select count(*)::int from ${groupFormed.type} where group_id like '${GROUPS}%') as formed,
      (select count(distinct group_id)::int from ${groupFormed.type} where group_id like '${GROUPS}%') as groups,
      (select lost::int from funnel_check) as lost`,
  )
  if (found?.asked !== made || found.formed !== made || found.groups !== made || found.lost !== 0) {
    breaches.push(`the tables after the remedy: expected ${made} groups, got ${JSON.stringify(found)}`)
  }
  const verified = await plumbline(at, ['verify'])
  if (verified.code !== 0) breaches.push(`verify after the remedy: ${verified.stdout}${verified.stderr}`.trim())
  return breaches
}
