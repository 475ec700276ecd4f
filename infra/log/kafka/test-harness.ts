import { setTimeout as sleep } from 'node:timers/promises'
import type { LogHarness } from '../conformance/harness.ts'
import type { Log } from '../port/log.ts'
import { parseKafkaAddress } from './address.ts'
import { Connection } from './connection.ts'
import { openKafkaLog } from './kafka-log.ts'

let harnesses = 0

/** A separate pipeline on a broker: its prefix isolates it from all others. */
export async function kafkaHarness(bootstrap: string): Promise<LogHarness> {
  harnesses += 1
  const address = `kafka://${bootstrap}/t${process.pid}-${harnesses}-${Date.now()}`
  const handles: Log[] = []
  const open = async (heartbeats: 'always' | 'poll') => {
    const log = await openKafkaLog({ address, heartbeats, heartbeat_ms: 100, transaction_timeout_ms: 5_000 })
    handles.push(log)
    return log
  }
  return {
    session_timeout_ms: 1_500,
    open: () => open('always'),
    openSilent: () => open('poll'),
    elapse: async (ms) => void (await sleep(ms)),
    deleteTopic: (name) => deleteTopic(address, name),
    close: async () => {
      for (const handle of handles) await handle.close()
    },
  }
}

/** Deletes a topic as Kafka's own tool does. Resolves when the metadata no longer lists it and the name is free. */
export async function deleteTopic(address: string, name: string): Promise<void> {
  const connection = await Connection.open(parseKafkaAddress(address), 'test')
  try {
    const topic = connection.address.prefix + name
    const controller = (await connection.controller()) as unknown as {
      deleteTopics(of: { topics: readonly string[]; timeout: number }): Promise<unknown>
    }
    await controller.deleteTopics({ topics: [topic], timeout: 15_000 })
    for (;;) {
      const [found] = (await connection.metadata([topic])).topics
      if (found?.code !== 0) return
      await sleep(50)
    }
  } finally {
    await connection.close()
  }
}
