import type { Batch, Consumer } from 'kafkajs'

/** A consumer of kafkajs that has received a topic's first records and continues on `go`. */
export interface GatedConsumer {
  /** How many records the first batch has. */
  readonly first: number
  /** Resolves when `take` has returned true. */
  go(): Promise<void>
}

/** Resolves at the first records, so that joining is not measured. `take` returns whether it has all records. */
export async function gatedConsumer(
  consumer: Consumer,
  topic: string,
  take: (batch: Batch) => boolean | Promise<boolean>,
): Promise<GatedConsumer> {
  const gate = Promise.withResolvers<void>()
  const first = Promise.withResolvers<number>()
  const last = Promise.withResolvers<void>()
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  consumer.on('consumer.crash', ({ payload }) => {
    if (payload.restart) return
    first.reject(payload.error)
    last.reject(payload.error)
  })
  last.promise.catch(() => undefined) // `go` reports it
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      first.resolve(batch.messages.length)
      await gate.promise
      if (await take(batch)) last.resolve()
    },
  })
  return {
    first: await first.promise,
    go() {
      gate.resolve()
      return last.promise
    },
  }
}
