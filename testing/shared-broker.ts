import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { startBroker } from '../infra/kafka-broker/local-broker.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** host:port of the broker that all test files share; each uses its own prefixes. */
    readonly kafka: string
  }
}

/** One broker for the whole run, which the files share; PLUMBLINE_TEST_KAFKA names one that runs already. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const running = process.env.PLUMBLINE_TEST_KAFKA
  if (running) {
    project.provide('kafka', running)
    return undefined
  }
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-kafka-'))
  const broker = await startBroker({ dir, say: (line) => process.stderr.write(`${line}\n`) })
  project.provide('kafka', broker.bootstrap)
  return async () => {
    await broker.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}
