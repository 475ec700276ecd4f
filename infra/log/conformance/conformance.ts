import { describe, test } from 'vitest'
import { APPENDING } from './appending.ts'
import { CONSUMING } from './consuming.ts'
import type { ConformanceCase, LogHarness, Skips } from './harness.ts'
import { READING } from './reading.ts'
import { REPLACING } from './replacing.ts'
import { SHARING } from './sharing.ts'

/** Every promise of the log port. A driver must keep all of them. */
export const CONFORMANCE: readonly ConformanceCase[] = [
  ...APPENDING,
  ...READING,
  ...CONSUMING,
  ...SHARING,
  ...REPLACING,
]

/** Runs the suite with vitest. A case is skipped only with a reason, and the reason is printed. */
export function logConformance(
  driver: string,
  makeHarness: () => Promise<LogHarness>,
  { skips = {}, concurrent = false }: { readonly skips?: Skips; readonly concurrent?: boolean } = {},
): void {
  const names = new Set(CONFORMANCE.map(({ name }) => name))
  const unknown = Object.keys(skips).find((name) => !names.has(name))
  if (unknown !== undefined) throw new Error(`${driver}: no case is called "${unknown}", so it cannot be skipped`)
  describe(`${driver} keeps the log's promises`, { concurrent }, () => {
    for (const one of CONFORMANCE) {
      const reason = skips[one.name]
      if (reason !== undefined) test.skip(`${one.name} (skipped: ${reason})`)
      else test(one.name, { timeout: 90_000 }, async () => await runCase(one, makeHarness))
    }
  })
}

export async function runCase(one: ConformanceCase, makeHarness: () => Promise<LogHarness>): Promise<void> {
  const harness = await makeHarness()
  try {
    await one.run(harness)
  } finally {
    await harness.close()
  }
}
