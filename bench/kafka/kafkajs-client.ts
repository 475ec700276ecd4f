import { Kafka, logLevel } from 'kafkajs'

/** kafkajs's own client, as its documentation sets it up, for commits each 100 ms. */
export function kafkajsClient(bootstrap: string): Kafka {
  return new Kafka({
    clientId: 'bench',
    brokers: [bootstrap],
    logLevel: logLevel.NOTHING,
    // A transaction that begins while the broker is ending the previous one is rejected and must be retried: soon.
    retry: { initialRetryTime: 20, maxRetryTime: 500, retries: 20 },
  })
}

/** Exactly once, as far as kafkajs supports it. */
export const transactional = (transactionalId: string) =>
  ({ transactionalId, idempotent: true, maxInFlightRequests: 1 }) as const
