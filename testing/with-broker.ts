import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import { artifactsAreCached, findMaven } from '../infra/kafka-broker/artifacts.ts'
import { BrokerError } from '../infra/kafka-broker/broker-error.ts'
import { findJava } from '../infra/kafka-broker/java.ts'
import { type BrokerOptions, type LocalBroker, startBroker, stopBroker } from '../infra/kafka-broker/local-broker.ts'

/**
 * Tests that need a real broker. Where none can be started, they are skipped with the reason; under continuous
 * integration they fail and name what to install.
 */
export function describeWithBroker(name: string, tests: () => void): void {
  const missing = whatIsMissing()
  if (missing === undefined) describe(name, tests)
  else if (process.env.CI) {
    test(name, () => {
      throw missing
    })
  } else describe.skip(`${name} (${missing.message}; ${missing.remedy})`, tests)
}

function whatIsMissing(): BrokerError | undefined {
  try {
    findJava()
    if (!artifactsAreCached()) findMaven()
    return undefined
  } catch (error) {
    if (error instanceof BrokerError) return error
    throw error
  }
}

/** A broker in a separate folder; both are removed after the file's tests. */
export async function testBroker(options: Omit<BrokerOptions, 'dir'> = {}): Promise<LocalBroker> {
  return startBroker({ dir: await brokerFolder(), ...options })
}

/** A folder to start a broker in. A broker that still runs there is stopped after the file's tests. */
export async function brokerFolder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'plumbline-kafka-'))
  folders.push(dir)
  return dir
}

const folders: string[] = []

afterAll(async () => {
  for (const dir of folders) {
    for (const at of [dir, join(dir, 'kafka')]) await stopBroker(at, { patience_ms: 0 })
    rmSync(dir, { recursive: true, force: true })
  }
})
