import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import type { LogHarness } from '../../infra/log/conformance/harness.ts'
import { lmdbHarness } from '../../infra/log/lmdb/test-harness.ts'
import { memoryHarness } from '../../infra/log/memory/test-harness.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { BEHAVING } from './behaving.ts'
import { PARTITIONS, type SourceCase, type SourceDriver } from './driver.ts'
import { HANDING_IN } from './handing-in.ts'
import { RESUMING } from './resuming.ts'

/** Every promise of the source port. */
export const SOURCE_CONFORMANCE: readonly SourceCase[] = [...RESUMING, ...BEHAVING, ...HANDING_IN]

export const LOGS = { memory: async () => memoryHarness(), LMDB: lmdbHarness } as const

/**
 * Registers a test for each promise that the source makes: on a log in memory, and where another process takes part on
 * the embedded one.
 */
export function sourceConformance(driver: SourceDriver): void {
  describe(`the source ${driver.name} keeps the promises of the port`, () => {
    for (const one of SOURCE_CONFORMANCE) {
      if (one.applies?.(driver) === false) continue
      test(one.name, { timeout: 180_000 }, () => runCase(one, driver))
    }
  })
}

export async function runCase(one: SourceCase, driver: SourceDriver): Promise<void> {
  const logs: LogHarness = await (one.in_other_process ? LOGS.LMDB : LOGS.memory)()
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-source-'))
  try {
    const log = await logs.open()
    const blobs = directoryBlobs(join(folder, 'blobs'))
    const { types } = await driver.open({ folder, blobs })
    await log.createTopics(topicsOf(types, [], PARTITIONS))
    await one.run({ driver, logs, log, log_dir: logs.dir, blobs, folder })
  } finally {
    await logs.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
