import { sizeOf } from '../infra/log/port/consumer.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { type EncodedEvent, encodeEvent } from '../schemas/wire/codec.ts'
import type { Emitted, Source } from './source.ts'

export interface PushOptions {
  readonly name: string
  readonly types: readonly EventType[]
  /** Once so many encoded bytes wait for their commit, no further event is let in. So at most one event exceeds it. */
  readonly max_bytes: number
  /** How many bytes one transaction takes, of those that wait, but always one event; default 1 MiB. */
  readonly commit_bytes?: number
}

/** A live source that other code hands events to: an HTTP endpoint, a program that records. */
export interface PushSource extends Source {
  /** Encoded bytes that wait for their commit. */
  readonly waiting_bytes: number
  /**
   * Resolves once the event is committed. While the buffer is full, the event waits with its sender, so that a caller
   * that awaits each event is slowed to the speed of the log. An event already waiting under the same id is not added
   * again.
   *
   * @param signal stops waiting for room; an event that is in the buffer stays in it
   * @throws InvalidEventError, EventTooLargeError when it cannot be encoded.
   * @throws IdTakenError when another event with its id waits.
   * @throws NotCommittedError when the source ends first: hand it in again, with the same id.
   */
  hand(emitted: Emitted, signal?: AbortSignal): Promise<void>
  /** No more events follow: the run ends when all waiting events are committed. */
  end(): void
}

/** The source ended before the event was committed. It may be in the log all the same, if the commit was under way. */
export class NotCommittedError extends Error {
  override readonly name = 'NotCommittedError'
  readonly retry = 'later'
}

/** Another event with this id waits for its commit. */
export class IdTakenError extends Error {
  override readonly name = 'IdTakenError'
  readonly retry = 'never'
}

interface Sender {
  resolve(): void
  reject(error: unknown): void
}

interface Outside extends Sender {
  readonly emitted: Emitted
}

interface Waiting {
  readonly emitted: Emitted & { readonly encoded: EncodedEvent }
  readonly bytes: number
  readonly senders: Sender[]
}

const COMMIT_BYTES = 2 ** 20

export function pushSource(options: PushOptions): PushSource {
  return new Buffered(options)
}

class Buffered implements PushSource {
  readonly name: string
  readonly types: readonly EventType[]
  readonly kind = 'live'
  readonly steps = Number.POSITIVE_INFINITY
  readonly #options: PushOptions
  /** In the order of arrival; those at the beginning may be in a commit. */
  readonly #waiting: Waiting[] = []
  readonly #by_id = new Map<string, Waiting>()
  /** Those that there was no room for, in their order. Empty while there is room. */
  readonly #outside: Outside[] = []
  #bytes = 0
  #has_ended = false
  #over: NotCommittedError | undefined
  #wake = () => {}

  constructor(options: PushOptions) {
    this.#options = options
    this.name = options.name
    this.types = options.types
  }

  get waiting_bytes(): number {
    return this.#bytes
  }

  hand(emitted: Emitted, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      if (this.#has_ended) throw this.#over ?? this.#notTaken('it takes no more')
      const leave = () => {
        const at = this.#outside.indexOf(sender)
        if (at < 0) return
        this.#outside.splice(at, 1)
        reject(signal?.reason)
      }
      const settled = () => signal?.removeEventListener('abort', leave)
      const sender: Outside = {
        emitted,
        resolve() {
          settled()
          resolve()
        },
        reject(error) {
          settled()
          reject(error)
        },
      }
      signal?.addEventListener('abort', leave)
      this.#outside.push(sender)
      this.#letIn()
    })
  }

  end(): void {
    this.#has_ended = true
    this.#wake()
  }

  async take(from: number, { most, signal }: { readonly most: number; readonly signal: AbortSignal }) {
    while (this.#waiting.length === 0 && !this.#has_ended && !signal.aborted) await this.#woken(signal)
    if (this.#waiting.length === 0 || signal.aborted) return undefined
    const some = this.#first(most)
    // They stay in the buffer until they are committed: after a failure they are given again.
    return {
      emitted: some.map(({ emitted }) => emitted),
      to: from + some.length,
      committed: () => this.#committed(some.length),
    }
  }

  close(error: Error | undefined): void {
    this.#has_ended = true
    this.#over = this.#notTaken(error === undefined ? 'it was stopped' : error.message, error)
    for (const { senders } of this.#waiting.splice(0)) for (const sender of senders) sender.reject(this.#over)
    for (const sender of this.#outside.splice(0)) sender.reject(this.#over)
    this.#by_id.clear()
    this.#bytes = 0
  }

  #notTaken(why: string, cause?: Error): NotCommittedError {
    const what = `source/${this.name} has ended, and the event is not confirmed: ${why}`
    return new NotCommittedError(`${what}. Hand it in again, with the same id`, { cause })
  }

  #letIn(): void {
    while (this.#outside.length > 0 && (this.#waiting.length === 0 || this.#bytes < this.#options.max_bytes)) {
      const sender = this.#outside.shift() as Outside
      try {
        this.#add(sender)
      } catch (error) {
        sender.reject(error)
      }
    }
    if (this.#waiting.length > 0) this.#wake()
  }

  #add(sender: Outside): void {
    const { type, event } = sender.emitted
    const encoded = encodeEvent(type, event)
    const known = this.#by_id.get(event.id)
    if (known !== undefined) {
      if (!isSame(known.emitted.encoded, encoded)) {
        throw new IdTakenError(
          `source/${this.name}: expected one event with the id ${event.id}, got another ${type.type} while ${known.emitted.type.type} waits; give each event an id of its own`,
        )
      }
      known.senders.push(sender)
      return
    }
    const one = { emitted: { type, event, encoded }, bytes: bytesOf(encoded), senders: [sender] }
    this.#waiting.push(one)
    this.#by_id.set(event.id, one)
    this.#bytes += one.bytes
  }

  #first(most: number): Waiting[] {
    const { commit_bytes = COMMIT_BYTES } = this.#options
    let size = 0
    const beyond = this.#waiting.findIndex(({ bytes }, at) => {
      size += bytes
      return at >= most || (at > 0 && size > commit_bytes)
    })
    return this.#waiting.slice(0, beyond < 0 ? undefined : beyond)
  }

  #committed(count: number): void {
    for (const { emitted, bytes, senders } of this.#waiting.splice(0, count)) {
      this.#by_id.delete(emitted.event.id)
      this.#bytes -= bytes
      for (const sender of senders) sender.resolve()
    }
    this.#letIn()
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake)
        this.#wake = () => {}
        resolve()
      }
      this.#wake = wake
      signal.addEventListener('abort', wake)
    })
  }
}

function isSame(one: EncodedEvent, other: EncodedEvent): boolean {
  return Buffer.compare(one.value, other.value) === 0 && JSON.stringify(one.headers) === JSON.stringify(other.headers)
}

/** What an encoded event holds in memory: its record, and the large columns that are stored as blobs. */
const bytesOf = (encoded: EncodedEvent) =>
  encoded.blobs.reduce((sum, blob) => sum + blob.bytes.byteLength, sizeOf(encoded))
