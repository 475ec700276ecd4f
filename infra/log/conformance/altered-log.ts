import type { JoinOptions, Log, Member, Polled, Producer, Transaction } from '../port/log.ts'

/** Wrappers that change one behaviour of a log. */

export function changed(log: Log, change: Partial<Log>): Log {
  return delegate(log, change)
}

/** `side` opens another transaction on the same log, for actions outside the first one. */
export function withTransactions(
  log: Log,
  change: (transaction: Transaction, side: () => Promise<Transaction>) => Partial<Transaction>,
): Log {
  let sides = 0
  const side = async () => {
    sides += 1
    return (await log.producer({ transactional_id: `side/${process.hrtime.bigint()}/${sides}` })).begin()
  }
  return changed(log, {
    producer: async (options) => {
      const producer = await log.producer(options)
      return delegate<Producer>(producer, {
        begin: () => {
          const transaction = producer.begin()
          return delegate(transaction, change(transaction, side))
        },
      })
    },
  })
}

export function withMembers(log: Log, change: (member: Member) => Partial<Member>): Log {
  return changed(log, {
    join: async (options: JoinOptions) => {
      const member = await log.join(options)
      return delegate(member, change(member))
    },
  })
}

export function withPolls(log: Log, change: (polled: Polled) => Polled): Log {
  return withMembers(log, (member) => ({ poll: async (options) => change(await member.poll(options)) }))
}

/** A poll without records returns after 10 ms, for tests that wait until a worker is idle and then stop it. */
export function withShortPolls(log: Log): Log {
  return withMembers(log, (member) => ({
    poll: ({ max_bytes, wait_ms }) => member.poll({ max_bytes, wait_ms: Math.min(wait_ms, 10) }),
  }))
}

/** `target` with some methods replaced; the others keep their own `this`. */
export function delegate<T extends object>(target: T, change: Partial<T>): T {
  return new Proxy(target, {
    get(from, name) {
      const replaced = change[name as keyof T]
      if (replaced !== undefined) return replaced
      const value: unknown = Reflect.get(from, name, from)
      return typeof value === 'function' ? value.bind(from) : value
    },
  })
}
