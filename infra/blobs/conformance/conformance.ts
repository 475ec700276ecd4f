import { describe, test } from 'vitest'
import { FAULTS } from './faults.ts'
import type { BlobHarness, ConformanceCase, Skips } from './harness.ts'
import { MANAGING } from './managing.ts'
import { STORING } from './storing.ts'
import { STREAMING } from './streaming.ts'

/** Every promise of the blob port. A driver must keep all of them. */
export const CONFORMANCE: readonly ConformanceCase[] = [...STORING, ...STREAMING, ...MANAGING, ...FAULTS]

/** Those that need a network between the driver and its store. */
export const OF_A_NETWORK: readonly string[] = FAULTS.map(({ name }) => name)

/** Runs the suite with vitest. A case is skipped only with a reason, and the reason is printed. */
export function blobConformance(driver: string, makeHarness: () => Promise<BlobHarness>, skips: Skips = {}): void {
  const names = new Set(CONFORMANCE.map(({ name }) => name))
  const unknown = Object.keys(skips).find((name) => !names.has(name))
  if (unknown !== undefined) throw new Error(`${driver}: no case is called "${unknown}", so it cannot be skipped`)
  describe(`${driver} keeps the promises of a blob store`, () => {
    for (const one of CONFORMANCE) {
      const reason = skips[one.name]
      if (reason !== undefined) test.skip(`${one.name} (skipped: ${reason})`)
      else test(one.name, { timeout: 60_000 }, async () => await runCase(one, makeHarness))
    }
  })
}

export async function runCase(one: ConformanceCase, makeHarness: () => Promise<BlobHarness>): Promise<void> {
  const harness = await makeHarness()
  try {
    await one.run(harness)
  } finally {
    await harness.close()
  }
}
