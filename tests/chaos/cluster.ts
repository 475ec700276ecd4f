import { setTimeout as wait } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { type LocalBroker, type LocalNode, startBroker } from '../../infra/kafka-broker/local-broker.ts'
import type { NodeId } from './schedule.ts'

/** Three real brokers, and whether all their replicas are in sync. */
export class Cluster {
  readonly #broker: LocalBroker

  private constructor(broker: LocalBroker) {
    this.#broker = broker
  }

  static async start(dir: string, say: (line: string) => void): Promise<Cluster> {
    return new Cluster(await startBroker({ dir, nodes: 3, heap: '384m', say }))
  }

  get bootstrap(): string {
    return this.#broker.bootstrap
  }

  node(id: NodeId): LocalNode {
    return this.#broker.nodes[id - 1] as LocalNode
  }

  /** Waits until all replicas of every partition are in sync. @returns true, or what is missing at the timeout */
  async inSync(patience_ms: number): Promise<true | string> {
    const deadline_ms = performance.now() + patience_ms
    for (;;) {
      const missing = await this.#missing()
      if (missing === undefined) return true
      if (performance.now() > deadline_ms) return missing
      await wait(250)
    }
  }

  async #missing(): Promise<string | undefined> {
    const admin = new Kafka({
      brokers: this.bootstrap.split(','),
      logLevel: logLevel.NOTHING,
      retry: { retries: 2 },
    }).admin()
    try {
      await admin.connect()
      const { topics } = await admin.fetchTopicMetadata()
      for (const { name, partitions } of topics) {
        const behind = partitions.find(({ isr, replicas }) => isr.length < replicas.length)
        if (behind !== undefined) {
          const { partitionId, isr, replicas } = behind
          return `of ${name} partition ${partitionId} only nodes ${isr.join()} of ${replicas.join()} are in sync`
        }
      }
      return undefined
    } catch (error) {
      return `the cluster does not answer: ${(error as Error).message}`
    } finally {
      await admin.disconnect().catch(() => {})
    }
  }

  async stop(): Promise<void> {
    await this.#broker.stop()
  }
}
