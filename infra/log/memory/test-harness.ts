import { setImmediate as turn } from 'node:timers/promises'
import type { LogHarness } from '../conformance/harness.ts'
import type { Log } from '../port/log.ts'
import { MemoryBroker } from './broker.ts'
import { memoryLog } from './memory-log.ts'

/** The memory driver for the conformance suite; leases and waiting use a virtual clock. */
export function memoryHarness(wrap: (log: Log) => Log = (log) => log): LogHarness {
  const broker = new MemoryBroker()
  const handles: Log[] = []
  let now_ms = 0
  const clock = {
    now_ms: () => now_ms,
    sleep: async (ms: number) => {
      // Let every pending action run before the clock advances.
      for (let i = 0; i < 5; i += 1) await turn()
      now_ms += ms
    },
  }
  const open = async (heartbeats: 'always' | 'poll') => {
    const log = wrap(memoryLog({ broker, clock, heartbeats }))
    handles.push(log)
    return log
  }
  return {
    session_timeout_ms: 1_000,
    open: () => open('always'),
    openSilent: () => open('poll'),
    elapse: (ms) => clock.sleep(ms),
    deleteTopic: async (name) => broker.deleteTopic(name),
    close: async () => {
      for (const handle of handles) await handle.close()
    },
  }
}
