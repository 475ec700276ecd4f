import { EpochClaim } from './consumer.ts'
import { type Claim, FencedError, type NewRecord, type Position, type Producer, type Transaction } from './log.ts'

/** Progress that a transaction commits with its appends. */
export interface Progress {
  readonly claimed: readonly ClaimedPositions[]
  readonly standalone: readonly StandalonePositions[]
}

export interface ClaimedPositions {
  readonly group: string
  readonly member: string
  /** Partition and the epoch at which the member got it, for the partitions of `positions`. */
  readonly epochs: readonly (readonly [partition: number, epoch: number])[]
  readonly positions: readonly Position[]
}

export interface StandalonePositions {
  readonly group: string
  readonly positions: readonly Position[]
}

/** A driver's buffer for the appends of an open transaction. */
export interface Appends {
  add(topic: string, partition: number, record: NewRecord): void
}

export interface ProducerAccess<A extends Appends> {
  begin(): A
  commit(appends: A, progress: Progress): Promise<void>
  abort(appends: A): void
}

/** A producer that buffers its transaction until commit; for drivers that commit in one step. */
export class BufferedProducer<A extends Appends> implements Producer {
  readonly #id: string
  readonly #access: ProducerAccess<A>
  #open: BufferedTransaction<A> | undefined
  #fenced: FencedError | undefined

  constructor(transactional_id: string, access: ProducerAccess<A>) {
    this.#id = transactional_id
    this.#access = access
  }

  begin(): Transaction {
    if (this.#fenced !== undefined) throw this.#fenced
    if (this.#open !== undefined) {
      throw new Error(`producer ${this.#id}: expected the transaction before to have ended: commit or abort it first.`)
    }
    const ended = (failure?: unknown) => {
      this.#open = undefined
      if (failure instanceof FencedProducerError) this.#fenced = failure
    }
    this.#open = new BufferedTransaction(this.#id, this.#access, ended)
    return this.#open
  }

  async close(): Promise<void> {
    await this.#open?.abort()
  }
}

/** The producer itself is fenced, not only a claim: nothing it does will succeed again. */
export class FencedProducerError extends FencedError {}

class BufferedTransaction<A extends Appends> implements Transaction {
  readonly #id: string
  readonly #access: ProducerAccess<A>
  readonly #ended: (failure?: unknown) => void
  readonly #appends: A
  readonly #claimed: ClaimedPositions[] = []
  readonly #standalone: StandalonePositions[] = []
  #state: 'open' | 'committing' | 'ended' = 'open'

  constructor(id: string, access: ProducerAccess<A>, ended: (failure?: unknown) => void) {
    this.#id = id
    this.#access = access
    this.#ended = ended
    this.#appends = access.begin()
  }

  append(topic: string, partition: number, record: NewRecord): void {
    this.#expectOpen('append')
    this.#appends.add(topic, partition, record)
  }

  positions(claim: Claim, positions: readonly Position[]): void {
    this.#expectOpen('positions')
    if (!(claim instanceof EpochClaim)) throw new Error(`producer ${this.#id}: this claim is another log's.`)
    const epochs = new Map<number, number>()
    for (const { topic, partition } of positions) {
      const epoch = claim.epochs.get(partition)
      if (epoch === undefined) {
        throw new Error(
          `producer ${this.#id}: expected a position within the claim of group ${claim.group} ` +
            `(partitions ${claim.partitions.join(', ')}), got ${topic} partition ${partition}.`,
        )
      }
      epochs.set(partition, epoch)
    }
    this.#claimed.push({ group: claim.group, member: claim.member, epochs: [...epochs], positions: [...positions] })
  }

  standalonePositions(group: string, positions: readonly Position[]): void {
    this.#expectOpen('standalonePositions')
    this.#standalone.push({ group, positions: [...positions] })
  }

  async commit(): Promise<void> {
    this.#expectOpen('commit')
    this.#state = 'committing'
    let failure: unknown
    try {
      await this.#access.commit(this.#appends, { claimed: this.#claimed, standalone: this.#standalone })
    } catch (error) {
      failure = error
      throw error
    } finally {
      this.#state = 'ended'
      this.#ended(failure)
    }
  }

  async abort(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'ended'
    this.#access.abort(this.#appends)
    this.#ended()
  }

  #expectOpen(call: string): void {
    if (this.#state === 'open') return
    throw new Error(`producer ${this.#id}: ${call} after the transaction was committed or aborted: begin a new one.`)
  }
}
