import type { Batch, Consumer } from 'kafkajs'

/** A consumer of kafkajs that has the first records of a topic and goes on when it is told. */
export interface GatedConsumer {
  /** Of the first batch. */
  readonly first: number
  /** Ends when `take` has said that it has all. */
  go(): Promise<void>
}

/** Joining does not count in a measurement: this is back when the first records have come. `take` says whether it has all. */
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
  last.promise.catch(() => undefined) // whoever goes on hears
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
