import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Random } from '../../../environments/tower/random.ts'
import type { LogRecord, NewRecord } from '../../../infra/log/port/log.ts'
import { decodeRecord } from '../../../infra/runtime/execute/decode-record.ts'
import { ForeignRecordError } from '../../../infra/runtime/internal/foreign-record.ts'
import { skipRecord } from '../../../infra/runtime/internal/skipped-records.ts'
import { deadLetters } from '../../../infra/runtime/rebuild/retry-dead-letter.ts'
import { type DataFolder, openDataFolder } from '../../../pipeline/data-folder.ts'
import { readingIn } from '../../../pipeline/skip.ts'
import { unreadableRecords } from '../../../pipeline/unreadable-records.ts'
import { verify } from '../../../pipeline/verify.ts'
import { prepareLog } from '../../../pipeline/wiring.ts'
import { inputsOf } from '../../../processors/processor.ts'
import { eventOf, sampleOf } from '../../../schemas/conformance/arbitrary.ts'
import type { Event, EventType } from '../../../schemas/declare/event.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { groupFormed, rolloutRequested } from '../../../schemas/events/rollout.ts'
import { encodeEvent, PoisonError } from '../../../schemas/wire/codec.ts'
import { partitionsOf } from '../../../schemas/wire/partitions.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { TOWER_SOURCE } from '../../../sources/ce-source.ts'
import { runSource } from '../../../sources/run-source.ts'
import { towerScenes } from '../../../sources/tower-scenes.ts'
import { processorsOf } from '../../../streams/describe.ts'
import { DEFAULTS, type Topology, topology } from '../../../streams/topology.ts'
import { vocabulary } from '../../../streams/vocabulary.ts'
import { runUntilIdle } from '../../../testing/run-until-idle.ts'
import { recordsOf } from '../../cli/whole-log.ts'
import type { FuzzPart, FuzzTarget } from '../fuzz.ts'
import { badRecord } from './bad-records.ts'

const FIRST_SCENES = 4
/** Sound scenes that each check appends after the bad records. */
const MORE_SCENES = 2
const GROUP_SIZE = 3
const LATEST_MS = 120_000
const MOST_MEMORY_BYTES = 2 * 2 ** 30
/** `ce_source` of sound events that have no effect on the others. */
const STRANGER = '/outside/fuzz'
/** Not later than the sound events: stream time follows the latest event and would pass later deadlines. */
const EARLY = '2026-01-01T00:00:00.000Z'

/** Appends bad records among sound ones on every event topic, then runs workers, sink and verify over all of them. */
export const recordsPart: FuzzPart = { name: 'records', open: () => RecordsTarget.open({}) }

export interface RecordsOptions {
  /** A bug to be found: changes what the workers' log returns. */
  readonly planted?: (folder: DataFolder) => DataFolder
}

const placeOf = ({ topic, partition, offset }: Pick<LogRecord, 'topic' | 'partition' | 'offset'>) =>
  `${topic}/${partition}/${offset}`

export class RecordsTarget implements FuzzTarget {
  readonly #folder: DataFolder
  readonly #wiring: Topology
  readonly #options: RecordsOptions
  readonly #samples: LogRecord[][] = []
  /** By place: how the record was changed. */
  readonly #bad = new Map<string, string>()
  readonly #strange = new Set<string>()
  /** The bad records in internal topics. */
  readonly #internal = new Set<string>()
  readonly #skipped = new Set<string>()
  #internal_samples: LogRecord[] = []
  #scenes = FIRST_SCENES

  private constructor(folder: DataFolder, wiring: Topology, options: RecordsOptions) {
    this.#folder = folder
    this.#wiring = wiring
    this.#options = options
  }

  static async open(options: RecordsOptions): Promise<RecordsTarget> {
    const data = await mkdtemp(join(tmpdir(), 'plumbline-fuzz-records-'))
    const folder = await openDataFolder({ data }, { create: true })
    const wiring = await topology({ ...DEFAULTS, partitions: 2 })
    const target = new RecordsTarget(folder, wiring, options)
    await prepareLog(folder, wiring)
    await target.#appendSound()
    await runUntilIdle(folder, wiring)
    for (const type of wiring.events) {
      const found = await recordsOf(folder.log, type.type)
      // If nothing emits the type here, use what its declaration allows, without an offset.
      target.#samples.push(found.length > 0 ? found : [1, 2, 3].map((seed) => target.#strangerOf(type, seed)))
    }
    for (const { name } of await folder.log.topics()) {
      if (vocabulary.get(name) === undefined) target.#internal_samples.push(...(await recordsOf(folder.log, name)))
    }
    // At most three samples of each topic, so that no topic dominates.
    const by_topic = Map.groupBy(target.#internal_samples, ({ topic }) => topic)
    target.#internal_samples = [...by_topic.values()].flatMap((records) => records.slice(0, 3))
    return target
  }

  #strangerOf(type: EventType, seed: number): LogRecord {
    const envelope = { id: `fuzz-${type.type}-${seed}`, source: STRANGER, time: EARLY }
    const event = eventOf(type, sampleOf(type, seed), envelope)
    const partition = partitionOf(event.key, partitionsOf(this.#wiring.partitions, type.type))
    return { ...encodeEvent(type, event), topic: type.type, partition, offset: -1n, appended_ms: 0 }
  }

  async #appendSound(): Promise<void> {
    const { folder, wiring } = { folder: this.#folder, wiring: this.#wiring }
    const some = { dataset: 'side_block', task: 'x_y', split: 'train', variant: 'plain', purpose: 'train' } as const
    const source = towerScenes(
      { ...some, scenes: this.#scenes, seed: 'sound', group_size: GROUP_SIZE, round: 0 },
      folder.blobs,
    )
    await runSource(source, { ...folder, partitions: wiring.partitions })
  }

  async attempt(random: Random, trying: (input: string) => void): Promise<string> {
    const { partitions, events } = this.#wiring
    if (random.uniform() < 0.15) return await this.#attemptInternal(random, trying)
    const topic = random.integer(0, events.length - 1)
    const type = events[topic] as EventType
    const samples = this.#samples[topic] as LogRecord[]
    const sound = samples[random.integer(0, samples.length - 1)] as LogRecord
    const chance = random.uniform()
    if (chance < 0.05 && sound.offset >= 0n) return await this.#append(sound, 'redelivered', trying)
    if (chance < 0.15 && type.retention !== 'derived' && type.routing === 'key') {
      return await this.#append(this.#strangerOf(type, random.integer(1, 2 ** 31 - 1)), 'strange', trying)
    }
    const { kind, partition, record } = badRecord(sound, partitionsOf(partitions, type.type), random)
    return await this.#append({ ...sound, ...record, partition }, kind, trying)
  }

  /** Appends only what readers reject. A readable internal record could count input records that were never read. */
  async #attemptInternal(random: Random, trying: (input: string) => void): Promise<string> {
    const { log } = this.#folder
    const sound = this.#internal_samples[random.integer(0, this.#internal_samples.length - 1)] as LogRecord
    const count = (await log.endOffsets(sound.topic)).length
    const { kind, partition, record } = badRecord(sound, count, random)
    const changed = { ...sound, ...record, partition }
    trying(inputOf(changed, kind))
    const reading = await readingIn(sound.topic)
    try {
      reading(changed, count)
      return 'sound all the same'
    } catch (error) {
      if (!(error instanceof ForeignRecordError)) throw error
    }
    const place = await this.#appended(changed)
    this.#bad.set(place, kind)
    this.#internal.add(place)
    return 'foreign'
  }

  /** @returns `unreadable`, `sound all the same` (not appended), or the kind of a harmless record */
  async #append(record: LogRecord, kind: string, trying: (input: string) => void): Promise<string> {
    trying(inputOf(record, kind))
    const { partitions } = this.#wiring
    const bad = await decodeRecord(record, vocabulary, partitions, this.#folder.blobs).then(
      () => false,
      (error: unknown) => {
        if (error instanceof PoisonError) return true
        throw new Error('expected a poison record or an event, got another error', { cause: error })
      },
    )
    const is_harmless = kind === 'redelivered' || kind === 'strange'
    // As another answer to a sound request, it could change later results: do not append it.
    if (!bad && !is_harmless) return 'sound all the same'
    if (bad && is_harmless) throw new Error('expected a record that can be decoded')
    const place = await this.#appended(record)
    if (bad) this.#bad.set(place, kind)
    else this.#strange.add(place)
    return bad ? 'unreadable' : kind
  }

  /** @returns its place */
  async #appended({ topic, partition, key, headers, value }: LogRecord): Promise<string> {
    const { log } = this.#folder
    const offset = (await log.endOffsets(topic))[partition] as bigint
    const producer = await log.producer({ transactional_id: 'fuzz' })
    try {
      const transaction = producer.begin()
      transaction.append(topic, partition, { key, headers, value } satisfies NewRecord)
      await transaction.commit()
    } finally {
      await producer.close()
    }
    return placeOf({ topic, partition, offset })
  }

  async check(): Promise<void> {
    this.#scenes += MORE_SCENES
    await this.#skipping(() => this.#appendSound())
    const { planted = (folder: DataFolder) => folder } = this.#options
    const folder = planted(this.#folder)
    await this.#skipping(() => within(LATEST_MS, () => runUntilIdle(folder, this.#wiring)))
    const { maxRSS } = process.resourceUsage()
    if (maxRSS * 1024 > MOST_MEMORY_BYTES) throw new Error(`expected at most 2 GiB of memory, got ${maxRSS} KiB`)
    const sound = await this.#keysOf(rolloutRequested, ({ source }) => source === TOWER_SOURCE)
    await this.#expectLetters(sound)
    await this.#expectGroups(sound)
    await this.#skipping(() => within(LATEST_MS, () => this.#expectVerified()))
  }

  /** Skips each foreign record that an error names, as a person would, and tries again. Each is named once. */
  async #skipping(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        const foreign = foreignIn(error)
        if (foreign === undefined) throw error
        const place = placeOf(foreign.record)
        if (!this.#internal.has(place)) throw new Error(`${place} is sound, and no reader takes it`, { cause: error })
        if (this.#skipped.has(place)) throw new Error(`${place} is skipped, and stops readers`, { cause: error })
        this.#skipped.add(place)
        await skipRecord(this.#folder.log, foreign.record, foreign.message)
      }
    }
  }

  /** Each bad record must be a dead letter of all its readers and missing from the tables; no sound one may be. */
  async #expectLetters(sound: ReadonlySet<string>): Promise<void> {
    const letters = new Map<string, Set<string>>()
    for await (const { letter } of deadLetters(this.#folder.log, () => {})) {
      const place = `${letter.topic}/${letter.partition}/${letter.offset}`
      const by = letters.get(place) ?? new Set()
      letters.set(place, by.add(letter.processor))
      if (this.#bad.has(place) || this.#strange.has(place)) continue
      // The answer to a stranger's request may be too large for an event.
      if (letter.topic !== clockTicked.type && !sound.has(letter.key ?? '')) continue
      throw new Error(`${place} is sound, and a dead letter of ${letter.processor}: ${letter.error}`)
    }
    const lacking = new Set<string>()
    for await (const { topic, partition, offset, error } of unreadableRecords({ data: this.#folder.dir, places: {} })) {
      const place = placeOf({ topic, partition, offset })
      if (!this.#bad.has(place)) throw new Error(`${place} is sound, and the tables lack it: ${error}`)
      lacking.add(place)
    }
    const readers = processorsOf(this.#wiring)
    for (const [place, kind] of this.#bad) {
      if (this.#internal.has(place)) continue
      const [topic] = place.split('/')
      if (!lacking.has(place)) throw new Error(`${place} (${kind}) is bad, and the tables do not say so`)
      for (const reader of readers) {
        if (!inputsOf(reader).some(({ type }) => type === topic) || letters.get(place)?.has(reader.name)) continue
        throw new Error(`${place} (${kind}) is bad, and no dead letter of ${reader.name}`)
      }
    }
  }

  async #expectGroups(sound: ReadonlySet<string>): Promise<void> {
    const formed = await this.#keysOf(groupFormed, ({ key }) => sound.has(key))
    if (sound.size === this.#scenes && formed.size === this.#scenes) return
    throw new Error(`of ${this.#scenes} sound requests ${sound.size} are there, and ${formed.size} became groups`)
  }

  async #keysOf(type: EventType, isWanted: (event: Event) => boolean): Promise<Set<string>> {
    const keys = new Set<string>()
    for (const record of await recordsOf(this.#folder.log, type.type)) {
      if (this.#bad.has(placeOf(record))) continue
      const event = await decodeRecord(record, vocabulary, this.#wiring.partitions, this.#folder.blobs)
      if (isWanted(event)) keys.add(event.key)
    }
    return keys
  }

  async #expectVerified(): Promise<void> {
    const { records, reports, chunks, blobs } = await verify(this.#folder, this.#wiring, {})
    const named = [...records.found, ...reports.flatMap(({ first }) => (first === undefined ? [] : [first]))]
    const wrong = named.find(
      ({ where }) =>
        ![...this.#bad.keys()].some((place) => where === place.replace(/\/(\d+)\/(\d+)$/, ' partition $1 offset $2')),
    )
    if (wrong !== undefined) throw new Error(`verify accuses what is sound: ${JSON.stringify(wrong)}`)
    const accused = records.differences + reports.reduce((sum, { differences }) => sum + differences, 0)
    if (accused > this.#bad.size)
      throw new Error(`verify found ${accused} differences, ${this.#bad.size} records are bad`)
    for (const { processor, rebuilt, equal } of reports) {
      if (rebuilt !== equal) throw new Error(`of ${processor}, verify computed ${rebuilt} events and found ${equal}`)
    }
    if (chunks?.damaged !== 0 || blobs.differences > 0) throw new Error('verify found damaged chunks or blobs')
  }

  async close(): Promise<void> {
    await this.#folder.close()
    await rm(this.#folder.dir, { recursive: true, force: true })
  }
}

function inputOf({ topic, partition, key, headers, value }: LogRecord, kind: string): string {
  const bytes = Buffer.from(value ?? []).toString('base64')
  const text = JSON.stringify({ topic, partition, kind, key, headers, value: bytes })
  return text.length > 1_000 ? `${text.slice(0, 1_000)}…` : text
}

function foreignIn(error: unknown): ForeignRecordError | undefined {
  if (!(error instanceof Error)) return undefined
  return error instanceof ForeignRecordError ? error : foreignIn(error.cause)
}

async function within<T>(limit_ms: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`expected an end within ${limit_ms} ms`)), limit_ms)
  })
  try {
    return await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}
