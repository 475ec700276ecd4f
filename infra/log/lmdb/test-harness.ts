import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogHarness } from '../conformance/harness.ts'
import type { Log } from '../port/log.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { chunkKey, openTables, type TopicRow } from './tables.ts'

export async function lmdbHarness(): Promise<LogHarness> {
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-log-'))
  const handles: Log[] = []
  const open = async (heartbeats: 'always' | 'poll') => {
    const log = await openLmdbLog({ dir, heartbeats })
    handles.push(log)
    return log
  }
  return {
    dir,
    session_timeout_ms: 600,
    open: () => open('always'),
    openSilent: () => open('poll'),
    elapse: async (ms) => void (await sleep(ms)),
    deleteTopic: (name) => deleteTopic(dir, name),
    close: async () => {
      for (const handle of handles) await handle.close()
      rmSync(dir, { recursive: true })
    },
  }
}

/** Deletes a topic. No command does that, but another program could. */
export async function deleteTopic(dir: string, name: string): Promise<void> {
  const { env, catalog, chunks } = openTables(dir, false, 'flushed')
  env.transactionSync(() => {
    const { id } = catalog.get(['topic', name]) as TopicRow
    const keys = [...chunks.getKeys({ start: chunkKey(id, 0, 0), end: chunkKey(id + 1, 0, 0) })].map(Buffer.from)
    for (const key of keys) chunks.removeSync(key)
    catalog.removeSync(['topic', name])
  })
  await env.close()
}
