import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { kafkaArtifacts } from '../infra/kafka-broker/artifacts.ts'
import { classArchive } from '../infra/kafka-broker/class-archive.ts'
import { certificateFile } from '../infra/kafka-broker/client-settings.ts'
import type { User } from '../infra/kafka-broker/cluster.ts'
import { findJava } from '../infra/kafka-broker/java.ts'
import type { LocalBroker } from '../infra/kafka-broker/local-broker.ts'

export type Tool = 'TopicCommand' | 'ConsoleProducer' | 'ConsoleConsumer' | 'AclCommand'

const CLASSES: Record<Tool, string> = {
  TopicCommand: 'org.apache.kafka.tools.TopicCommand',
  ConsoleProducer: 'org.apache.kafka.tools.ConsoleProducer',
  ConsoleConsumer: 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  AclCommand: 'org.apache.kafka.tools.AclCommand',
}

/** Runs a console program of Kafka's own against a broker. @returns standard output. @throws Error with its output */
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
    { timeout: 120_000, maxBuffer: 256 * 1024 * 1024 },
  )
  running.child.stdin?.end(input)
  try {
    return (await running).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${tool} ${args.join(' ')} failed: ${stdout}${stderr}`, { cause: error })
  }
}

/** Properties with which Kafka's own programs log in over TLS. */
export function javaProperties({ dir }: LocalBroker, mechanism: 'PLAIN' | 'SCRAM-SHA-512', { name, password }: User) {
  const login = mechanism === 'PLAIN' ? 'plain.Plain' : 'scram.Scram'
  return {
    'security.protocol': 'SASL_SSL',
    'sasl.mechanism': mechanism,
    'sasl.jaas.config': `org.apache.kafka.common.security.${login}LoginModule required username="${name}" password="${password}";`,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': certificateFile(dir),
  }
}

/** Adds a deny rule for the user that Plumbline logs in as, e.g. `['--operation', 'Write', '--topic', 'closed']`. */
export const denyClient = (broker: LocalBroker, rule: readonly string[]) => addRule(broker, '--deny-principal', rule)

/** Once a topic has any rule, nobody may do there what no rule allows. */
export const allowClient = (broker: LocalBroker, rule: readonly string[]) => addRule(broker, '--allow-principal', rule)

async function addRule(broker: LocalBroker, kind: string, rule: readonly string[]): Promise<void> {
  if (broker.admin === undefined) throw new Error('expected a broker with SASL')
  const who = `User:${broker.settings.PLUMBLINE_KAFKA_USERNAME}`
  const properties = javaProperties(broker, 'SCRAM-SHA-512', broker.admin)
  await kafkaTool(broker, 'AclCommand', ['--add', kind, who, ...rule], { properties })
}
