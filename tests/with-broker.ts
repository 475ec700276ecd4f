import { execFile } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, test } from 'vitest'
import { artifactsAreCached, findMaven, kafkaArtifacts } from '../infra/kafka-broker/artifacts.ts'
import { BrokerError } from '../infra/kafka-broker/broker-error.ts'
import { classArchive } from '../infra/kafka-broker/class-archive.ts'
import { findJava } from '../infra/kafka-broker/java.ts'
import { type BrokerOptions, type LocalBroker, startBroker, stopBroker } from '../infra/kafka-broker/local-broker.ts'

/**
 * Tests that need a real broker. Where it cannot be had they are skipped with the reason; under continuous integration
 * they fail with what to install.
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

/** A broker in a folder of its own; both are gone when the file's tests have ended. */
export async function testBroker(options: Omit<BrokerOptions, 'dir'> = {}): Promise<LocalBroker> {
  return startBroker({ dir: await brokerFolder(), ...options })
}

/** A folder that a broker may be started in; what still runs there is stopped when the file's tests have ended. */
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

export type Tool = 'TopicCommand' | 'ConsoleProducer' | 'ConsoleConsumer' | 'AclCommand'

const CLASSES: Record<Tool, string> = {
  TopicCommand: 'org.apache.kafka.tools.TopicCommand',
  ConsoleProducer: 'org.apache.kafka.tools.ConsoleProducer',
  ConsoleConsumer: 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  AclCommand: 'org.apache.kafka.tools.AclCommand',
}

/** Runs one of Kafka's own console programs against a broker. @returns standard output; throws with what it said */
export async function kafkaTool(
  { bootstrap, dir }: Pick<LocalBroker, 'bootstrap' | 'dir'>,
  tool: Tool,
  args: readonly string[],
  { properties = {}, input = '' }: { properties?: Readonly<Record<string, string>>; input?: string } = {},
): Promise<string> {
  const config = join(dir, `client-${crypto.randomUUID()}.properties`)
  writeFileSync(
    config,
    Object.entries(properties)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  )
  const java = findJava()
  const artifacts = await kafkaArtifacts()
  const options = [...(await classArchive(java, artifacts)), '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xmx128m']
  const [, kind] = /^Console(.+)$/.exec(tool) ?? []
  const running = promisify(execFile)(
    java.java,
    [
      ...[...options, '-cp', artifacts.classpath, CLASSES[tool], '--bootstrap-server', bootstrap],
      ...[kind === undefined ? '--command-config' : `--${kind.toLowerCase()}.config`, config, ...args],
    ],
    { timeout: 120_000 },
  )
  running.child.stdin?.end(input)
  try {
    return (await running).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${tool} ${args.join(' ')} failed: ${stdout}${stderr}`, { cause: error })
  }
}
