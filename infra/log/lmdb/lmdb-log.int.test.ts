import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { logConformance } from '../conformance/conformance.ts'
import type { LogHarness } from '../conformance/harness.ts'
import type { Log } from '../log.ts'
import { openLmdbLog } from './lmdb-log.ts'

async function lmdbHarness(): Promise<LogHarness> {
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-log-'))
  const handles: Log[] = []
  const open = async (heartbeats: 'always' | 'poll') => {
    const log = await openLmdbLog({ dir, heartbeats })
    handles.push(log)
    return log
  }
  return {
    session_timeout_ms: 600,
    open: () => open('always'),
    openSilent: () => open('poll'),
    elapse: async (ms) => void (await sleep(ms)),
    close: async () => {
      for (const handle of handles) await handle.close()
      rmSync(dir, { recursive: true })
    },
  }
}

logConformance('the LMDB log', lmdbHarness)
