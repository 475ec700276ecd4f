import type { Claim, Log, NewRecord, Position, Producer, Transaction } from '../../infra/log/port/log.ts'

/**
 * The bug that the fault test must catch: positions are committed in a separate transaction, before the output. A
 * worker that dies, loses its disk or is fenced between the two loses that output.
 */
export function withEarlyPositions(log: Log): Log {
  return new Proxy(log, {
    get(target, name) {
      if (name === 'producer') {
        return async (options: { transactional_id: string }) => split(await target.producer(options))
      }
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

function split(producer: Producer): Producer {
  return { begin: () => new TwoTransactions(producer), close: () => producer.close() }
}

class TwoTransactions implements Transaction {
  readonly #producer: Producer
  readonly #appends: [topic: string, partition: number, record: NewRecord][] = []
  readonly #positions: ((transaction: Transaction) => void)[] = []

  constructor(producer: Producer) {
    this.#producer = producer
  }

  append(topic: string, partition: number, record: NewRecord): void {
    this.#appends.push([topic, partition, record])
  }

  positions(claim: Claim, positions: readonly Position[]): void {
    this.#positions.push((transaction) => transaction.positions(claim, positions))
  }

  standalonePositions(group: string, positions: readonly Position[]): void {
    this.#positions.push((transaction) => transaction.standalonePositions(group, positions))
  }

  async commit(): Promise<void> {
    if (this.#positions.length > 0) {
      const first = this.#producer.begin()
      for (const say of this.#positions) say(first)
      await first.commit()
    }
    const second = this.#producer.begin()
    for (const [topic, partition, record] of this.#appends) second.append(topic, partition, record)
    await second.commit()
  }

  async abort(): Promise<void> {}
}
