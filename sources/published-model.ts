import { BlobCorruptError, BlobMissingError, type Blobs } from '../infra/blobs/blobs.ts'
import type { Log } from '../infra/log/port/log.ts'
import { RivalError } from '../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../infra/sleep.ts'
import type { DataOf } from '../schemas/declare/event.ts'
import { InvalidEventError } from '../schemas/declare/event-errors.ts'
import { type MODEL_FILES, modelPublished } from '../schemas/events/model.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { MODEL_SOURCES } from './ce-source.ts'
import { ModelsInLog } from './models-in-log.ts'
import { runSource } from './run-source.ts'
import { type Emitted, emitted, type Source } from './source.ts'

export type ModelFile = (typeof MODEL_FILES)[number]
type Published = DataOf<typeof modelPublished>

/** What is published: its identity follows from lineage and version. */
export type ModelToPublish = Omit<Published, 'model_id'>

/**
 * Looks at the files of a model before it is published. They have the hashes and the sizes that the manifest says.
 *
 * @returns what is wrong, in words; empty when nothing is
 */
export type ModelCheck = (files: ReadonlyMap<ModelFile, Uint8Array>, model: Published) => Promise<readonly string[]>

export interface PublishingOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly partitions: Partitions
  /** In addition to hashes and sizes. */
  readonly check?: ModelCheck
  readonly time?: () => string
  /** How long committed events may stay invisible to a reader, as on Kafka. */
  readonly visible_ms?: number
}

export type PublishAnswer =
  | { readonly published: 'now' | 'before'; readonly model_id: string; readonly event_id: string }
  | {
      readonly refused: 'blobs_missing' | 'not_sound' | 'version_taken' | 'invalid'
      readonly message: string
      readonly blobs?: readonly string[]
      readonly problems?: readonly string[]
    }

/** The files of one model together: they are in memory while they are checked. */
export const MAX_MODEL_BYTES = 2 ** 30
/** Inferred: so many others publish in the same moment. */
const MOST_RIVALS = 8
const VISIBLE_MS = 10_000
const LOOK_MS = 25

/** The name of a model in the log. */
export const modelIdOf = ({ lineage, version }: Pick<Published, 'lineage' | 'version'>) => `${lineage}@${version}`

/**
 * Publishes models: one event for each, with a copy in every partition. A lineage's version is used once, whichever
 * processes publish at the same time, for they share the source named `models`.
 */
export class ModelPublisher {
  readonly #options: PublishingOptions
  readonly #known: ModelsInLog
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: PublishingOptions) {
    this.#options = options
    this.#known = new ModelsInLog(options)
  }

  /**
   * Whether the files are stored, have the sizes that the model names, and pass the check. One model at a time, so that
   * one is in memory.
   *
   * @returns why it is refused; undefined when it can be published
   */
  prepare(model: ModelToPublish): Promise<Extract<PublishAnswer, { refused: string }> | undefined> {
    return this.#inTurn(() => this.#prepare({ ...model, model_id: modelIdOf(model) }))
  }

  /**
   * Appends the event, unless the log has it. Call `prepare` before.
   *
   * @param by who publishes: a token's name, or a command's
   * @throws Error when the log cannot be read or written; the same call may be repeated
   */
  publish(model: ModelToPublish, by: string): Promise<PublishAnswer> {
    return this.#inTurn(() => this.#publish({ ...model, model_id: modelIdOf(model) }, by))
  }

  async #prepare(model: Published) {
    const invalid = whyInvalid(model)
    if (invalid !== undefined) return { refused: 'invalid', message: invalid } as const
    const files = new Map<ModelFile, Uint8Array>()
    const missing: string[] = []
    for (const { name, blob } of model.files) {
      try {
        const bytes = await this.#options.blobs.get(blob)
        if (bytes.byteLength !== blob.bytes) {
          const message = `files: ${name}: expected ${blob.bytes} bytes as the call names them, the blob has ${bytes.byteLength}`
          return { refused: 'invalid', message } as const
        }
        files.set(name, bytes)
      } catch (error) {
        // A blob of another size, or one that is damaged, is to be sent again.
        if (!(error instanceof BlobMissingError || error instanceof BlobCorruptError)) throw error
        missing.push(blob.sha256)
      }
    }
    if (missing.length > 0) {
      const message = `expected the files to be stored, missing: ${missing.join(', ')}; PUT /v1/blobs/SHA256 first`
      return { refused: 'blobs_missing', message, blobs: missing } as const
    }
    const problems = (await this.#options.check?.(files, model)) ?? []
    if (problems.length === 0) return undefined
    return { refused: 'not_sound', message: problems.slice(0, 8).join('; '), problems } as const
  }

  async #publish(model: Published, by: string): Promise<PublishAnswer> {
    for (let rivals = 0; ; rivals++) {
      try {
        return await this.#append(model, by)
      } catch (error) {
        // Another process has published meanwhile: what it published is read first.
        const rival = error instanceof RivalError || (error as Error).cause instanceof RivalError
        if (!rival || rivals === MOST_RIVALS) throw error
      }
    }
  }

  async #append(model: Published, by: string): Promise<PublishAnswer> {
    const event_id = sourceId(['models', model.lineage, String(model.version)])
    let answer: PublishAnswer | undefined
    const source: Source = {
      ...{ name: 'models', types: [modelPublished], kind: 'live', steps: Number.POSITIVE_INFINITY },
      // Opening the source has fenced every other: what is read now is complete, and stays so until the commit.
      take: async (from, { signal }) => {
        if (answer !== undefined) return undefined
        await this.#seeAll(from, signal)
        answer = this.#standing(model, event_id)
        if (answer !== undefined) return undefined
        const committed = () => {
          answer = { published: 'now', model_id: model.model_id, event_id }
        }
        return { emitted: [this.#event(model, event_id, by)], to: from + 1, committed }
      },
    }
    const { log, blobs, partitions } = this.#options
    await runSource(source, { log, blobs, partitions })
    if (answer === undefined) throw new Error(`source/models ended without an answer for ${model.model_id}`)
    return answer
  }

  #event(model: Published, id: string, by: string): Emitted {
    const time = this.#options.time?.() ?? new Date().toISOString()
    return emitted(modelPublished, model, { id, source: `${MODEL_SOURCES}${by}`, time, clock: 'wall' })
  }

  /** Reads the log until the events of the earlier publications are visible. */
  async #seeAll(published: number, signal: AbortSignal): Promise<void> {
    const until_ms = performance.now() + (this.#options.visible_ms ?? VISIBLE_MS)
    for (;;) {
      await this.#known.read()
      // Fewer for ever where the topic was made again: the versions in it are gone, too.
      if (this.#known.by_source >= published || signal.aborted || performance.now() > until_ms) return
      await sleep(LOOK_MS, signal)
    }
  }

  /** @returns undefined when the model can be appended */
  #standing(model: Published, event_id: string): PublishAnswer | undefined {
    const there = this.#known.digestOf(model.lineage, model.version)
    if (there !== undefined) {
      if (there === this.#known.digest(model)) {
        return { published: 'before', model_id: model.model_id, event_id }
      }
      const message = `lineage ${model.lineage}: version ${model.version} is published with other contents; a version is never used twice: publish a higher one`
      return { refused: 'version_taken', message }
    }
    const last = this.#known.lastOf(model.lineage)
    if (last === undefined || model.version > last) return undefined
    const message = `lineage ${model.lineage}: expected a version above ${last}, the last one that is published, got ${model.version}`
    return { refused: 'version_taken', message }
  }

  #inTurn<A>(work: () => Promise<A>): Promise<A> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => {})
    return turn
  }
}

/** @returns what the declaration does not allow, and sizes above the limit */
function whyInvalid(model: Published): string | undefined {
  const names = model.files.map(({ name }) => name)
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined) return `files: ${twice}: expected each file once`
  if (names.length === 0) return 'files: expected at least one'
  const bytes = model.files.reduce((sum, { blob }) => sum + blob.bytes, 0)
  if (bytes > MAX_MODEL_BYTES) return `files: expected at most ${MAX_MODEL_BYTES} bytes together, got ${bytes}`
  try {
    encodeEvent(modelPublished, emitted(modelPublished, model, PLACEHOLDER).event)
    return undefined
  } catch (error) {
    if (error instanceof InvalidEventError || (error as Error).name === 'EventTooLargeError') {
      return (error as Error).message
    }
    throw error
  }
}

const PLACEHOLDER = { id: '0', source: `${MODEL_SOURCES}x`, time: '2026-01-01T00:00:00.000Z', clock: 'wall' } as const
