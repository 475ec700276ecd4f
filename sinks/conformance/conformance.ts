import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import type { LogHarness } from '../../infra/log/conformance/harness.ts'
import { lmdbHarness } from '../../infra/log/lmdb/test-harness.ts'
import { memoryHarness } from '../../infra/log/memory/test-harness.ts'
import { createTopics } from '../../testing/duckdb/recorded-tower.ts'
import type { SinkCase, SinkDriver } from './driver.ts'
import { ENDURING } from './enduring.ts'
import { REREADING } from './rereading.ts'
import { blobFolder } from './steps.ts'
import { STORING } from './storing.ts'

/** Every promise of the sink port. */
export const SINK_CONFORMANCE: readonly SinkCase[] = [...STORING, ...ENDURING, ...REREADING]

export const LOGS = { memory: async () => memoryHarness(), LMDB: lmdbHarness } as const

/** Runs the suite with vitest, on a log in memory and on the embedded one. */
export function sinkConformance(driver: SinkDriver): void {
  for (const kind of ['memory', 'LMDB'] as const) {
    describe(`the ${driver.name} sink keeps the promises of the port, on a log of ${kind}`, () => {
      for (const one of SINK_CONFORMANCE) {
        const is_left_out = one.in_other_process && kind === 'memory'
        if (is_left_out) test.skip(`${one.name} (skipped: no other process sees a log in memory)`)
        else test(one.name, { timeout: 90_000 }, () => runCase(one, driver, LOGS[kind]))
      }
    })
  }
}

export async function runCase(one: SinkCase, driver: SinkDriver, open: () => Promise<LogHarness>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-sink-'))
  const logs = await open()
  try {
    const log = await logs.open()
    await createTopics(log)
    await one.run({ driver, logs, log, log_dir: logs.dir, blobs: directoryBlobs(blobFolder(folder)), folder })
  } finally {
    await logs.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
