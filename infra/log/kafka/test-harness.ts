import { setTimeout as sleep } from 'node:timers/promises'
import type { LogHarness } from '../conformance/harness.ts'
import type { Log } from '../log.ts'
import { openKafkaLog } from './kafka-log.ts'

let harnesses = 0

/** A pipeline of its own on a broker: its prefix keeps it apart from all others. */
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
    close: async () => {
      for (const handle of handles) await handle.close()
    },
  }
}
