import type { Log, NewRecord, Position, Producer, Transaction } from '../../infra/log/port/log.ts'

/** How a planted bug changes what a transaction holds. */
export interface Changes {
  readonly record?: (topic: string, record: NewRecord) => NewRecord
  readonly position?: (position: Position) => Position
}

/** A log whose transactions hold something else than their writer gave them. */
export function changedLog(log: Log, changes: Changes): Log {
  return new Proxy(log, {
    get(target, name) {
      if (name === 'producer') {
        return async (options: { transactional_id: string }) => changed(await target.producer(options), changes)
      }
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

function changed(producer: Producer, changes: Changes): Producer {
  const { record: recordOf = (_topic, record) => record, position: positionOf = (position) => position } = changes
  return {
    begin(): Transaction {
      const inner = producer.begin()
      return {
        append: (topic, partition, record) => inner.append(topic, partition, recordOf(topic, record)),
        positions: (claim, positions) => inner.positions(claim, positions.map(positionOf)),
        standalonePositions: (group, positions) => inner.standalonePositions(group, positions.map(positionOf)),
        commit: () => inner.commit(),
        abort: () => inner.abort(),
      }
    },
    close: () => producer.close(),
  }
}
