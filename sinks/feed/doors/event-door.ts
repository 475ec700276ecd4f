import { createHash } from 'node:crypto'
import type { Blobs } from '../../../infra/blobs/blobs.ts'
import { blobsIn } from '../../../infra/runtime/rebuild/blobs-named-by.ts'
import type { ClockDomain, Event, EventType } from '../../../schemas/declare/event.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import { encodeEvent } from '../../../schemas/wire/codec.ts'
import { sourceId } from '../../../schemas/wire/identity.ts'
import { jsonCodec } from '../../../schemas/wire/json-codec.ts'
import { mayPublish, type Token } from '../access/tokens.ts'
import { FeedRefusal } from '../refusal.ts'
import { PUBLISHED_SOURCES, whyNotPublishable } from './publishable.ts'

/** An event as it is sent. */
export interface SentEvent {
  readonly type: string
  /** The sender's own: the same event has the same id, however often it is sent. */
  readonly id: string
  readonly data: Readonly<Record<string, unknown>>
  /** RFC 3339; the server's time when it is left out. */
  readonly time?: string | undefined
  readonly clock: ClockDomain
  readonly causes: readonly string[]
  readonly correlation?: string | undefined
  readonly seed?: string | undefined
}

export interface EventDoorOptions {
  readonly vocabulary: Catalogue
  readonly blobs: Pick<Blobs, 'has'>
  /** Resolves once the event is committed: a live source. */
  readonly hand: (emitted: { readonly type: EventType; readonly event: Event }, signal?: AbortSignal) => Promise<void>
  readonly time?: () => string
}

/** Inferred: a sender that repeats its call does so soon. */
const MOST_REMEMBERED = 65_536
/** How long a call waits for its commit. It may be committed later all the same. */
const COMMIT_MS = 30_000

interface Ready {
  readonly type: EventType
  readonly event: Event
  /** Of what was sent. */
  readonly digest: string
}

interface Known {
  readonly digest: string
  readonly done: Promise<void>
}

/** Events of other programs, checked and appended. */
export class EventDoor {
  readonly #options: EventDoorOptions
  /** By `ce_id`: those that wait, and those that were committed lately. */
  readonly #known = new Map<string, Known>()

  constructor(options: EventDoorOptions) {
    this.#options = options
  }

  /**
   * Checks all of them, then appends each that was not appended before. They may be committed in several transactions.
   *
   * @returns the `ce_id` of each, which follows from the sender's name and the id that it gave
   * @throws FeedRefusal when one of them is not taken; then none is
   * @throws Error with `retry: 'later'` when not all were committed in time
   */
  async publish(sent: readonly SentEvent[], token: Token): Promise<string[]> {
    const ready = sent.map((one, at) => this.#check(one, token, `events.${at}`))
    this.#expectOwnIds(ready)
    await this.#expectBlobs(ready)
    const signal = AbortSignal.timeout(COMMIT_MS)
    const handed = ready.map((one) => this.#handOnce(one, signal))
    await within(Promise.all(handed), signal)
    return ready.map(({ event }) => event.id)
  }

  #check(sent: SentEvent, token: Token, where: string): Ready {
    const type = this.#options.vocabulary.get(sent.type)
    if (type === undefined) {
      throw new FeedRefusal(
        'invalid',
        `${where}.type: expected a declared event, got "${sent.type}"; "plumbline events" lists them`,
      )
    }
    const why_not = whyNotPublishable(type)
    if (why_not !== undefined) {
      throw new FeedRefusal('forbidden', `${where}.type: ${why_not}, and is taken from no one`)
    }
    if (!mayPublish(token, type.type)) {
      const has = token.events.join(', ') || 'none'
      throw new FeedRefusal('forbidden', `token ${token.name}: expected one for events of ${type.type}, it has ${has}`)
    }
    const source = `${PUBLISHED_SOURCES}${token.name}`
    const { id, time = this.#options.time?.() ?? new Date().toISOString(), clock, causes, correlation, seed } = sent
    const data = dataOf(type, sent.data, where)
    const event = {
      ...{ id: sourceId([source, id]), source, type: type.type, version: type.version, time, clock },
      ...{ key: String((data as Record<string, unknown>)[type.key]), causes: [...causes].sort(), data },
      ...(correlation === undefined ? {} : { correlation }),
      ...(seed === undefined ? {} : { seed }),
    } as unknown as Event
    try {
      encodeEvent(type, event)
    } catch (error) {
      throw new FeedRefusal('invalid', `${where}: ${error instanceof Error ? error.message : String(error)}`)
    }
    return { type, event, digest: createHash('sha256').update(JSON.stringify(sent)).digest('hex') }
  }

  #expectOwnIds(ready: readonly Ready[]): void {
    const here = new Map<string, string>()
    for (const [at, { event, digest }] of ready.entries()) {
      const other = here.get(event.id) ?? this.#known.get(event.id)?.digest
      if (other !== undefined && other !== digest) {
        throw new FeedRefusal(
          'id_taken',
          `events.${at}.id: another event was sent under this id; give each event an id of its own`,
        )
      }
      here.set(event.id, digest)
    }
  }

  async #expectBlobs(ready: readonly Ready[]): Promise<void> {
    const named = new Map(ready.flatMap(({ type, event }) => blobsIn(type, event)).map((ref) => [ref.sha256, ref]))
    const missing: string[] = []
    for (const ref of named.values()) if (!(await this.#options.blobs.has(ref))) missing.push(ref.sha256)
    if (missing.length === 0) return
    const message = `expected the blobs that the events name to be stored, missing: ${missing.slice(0, 4).join(', ')}; PUT /v1/blobs/SHA256 first`
    throw new FeedRefusal('blobs_missing', message, { blobs: missing.slice(0, 1_024) })
  }

  #handOnce({ type, event, digest }: Ready, signal: AbortSignal): Promise<void> {
    const known = this.#known.get(event.id)
    if (known !== undefined) return known.done
    const done = this.#options.hand({ type, event }, signal)
    this.#known.set(event.id, { digest, done })
    done.then(
      () => this.#forgetSome(),
      () => this.#known.delete(event.id),
    )
    return done
  }

  /** The first ones: what waits is bounded by its source, and at the end. */
  #forgetSome(): void {
    for (const id of this.#known.keys()) {
      if (this.#known.size <= MOST_REMEMBERED) return
      this.#known.delete(id)
    }
  }
}

/** The data as the declaration has them in memory. @throws FeedRefusal */
function dataOf(type: EventType, sent: unknown, where: string): unknown {
  try {
    return jsonCodec(type.row).decode(Buffer.from(JSON.stringify(sent)))
  } catch (error) {
    throw new FeedRefusal('invalid', `${where}.data: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** The log did not commit in time. */
class NotCommittedInTimeError extends Error {
  override readonly name = 'NotCommittedInTimeError'
  readonly retry = 'later'
}

async function within<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const late = () =>
    new NotCommittedInTimeError(
      `the log has not committed these events within ${COMMIT_MS / 1_000} s; send them again, under the same ids`,
    )
  return await new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(late()), { once: true })
    // The signal may be that of an earlier call with the same event.
    work.then(resolve, (error) => reject((error as Error).name === 'TimeoutError' ? late() : error))
  })
}
