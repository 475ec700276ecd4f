import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Artifacts } from './artifacts.ts'
import { BrokerError } from './broker-error.ts'
import { type Cluster, type ClusterNode, nodeFolder } from './cluster.ts'
import type { Java } from './java.ts'
import { serverProperties } from './server-properties.ts'

/** What runs Kafka's programs. */
export interface Tools {
  readonly java: Java
  readonly artifacts: Artifacts
  /** For quick starts; see `classArchive`. */
  readonly java_options: readonly string[]
}

const LOGGING = 'log4j2.yaml'

/** Java is started in the node's folder, which has a copy of the configuration. */
export const loggingOption = `-Dlog4j2.configurationFile=${LOGGING}`

/** Writes a node's configuration before each start, because its settings belong to this program, not to the folder. */
export function writeConfiguration(dir: string, cluster: Cluster, node: ClusterNode): void {
  const folder = nodeFolder(dir, node.id)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'server.properties'), serverProperties(cluster, node), { mode: 0o600 })
  copyFileSync(fileURLToPath(new URL(LOGGING, import.meta.url)), join(folder, LOGGING))
}

/** Formats a node's storage, with the SCRAM users in its first metadata records. Existing storage is left as it is. */
export async function formatStorage(
  dir: string,
  cluster: Cluster,
  node: ClusterNode,
  { java, artifacts, java_options }: Tools,
): Promise<void> {
  const scram = cluster.users === null ? [] : [cluster.users.admin, cluster.users.client]
  const args = [
    ...[...java_options, '-XX:TieredStopAtLevel=1', '-Xmx256m', '-XX:+UseSerialGC', loggingOption],
    ...['-cp', artifacts.classpath, 'kafka.tools.StorageTool'],
    ...['format', '--ignore-formatted', '--cluster-id', cluster.cluster_id, '--config', 'server.properties'],
    ...scram.flatMap(({ name, password }) => ['--add-scram', `SCRAM-SHA-512=[name=${name},password=${password}]`]),
  ]
  try {
    await promisify(execFile)(java.java, args, { cwd: nodeFolder(dir, node.id), timeout: 120_000 })
  } catch (cause) {
    const { stderr, stdout, message } = cause as Error & { stderr?: string; stdout?: string }
    const why = `${stderr ?? ''}${stdout ?? ''}`.trim().split('\n').at(-1) || message
    throw new BrokerError(
      `the storage of node ${node.id} could not be made: ${why}`,
      `remove ${dir} and try again; see ${join(nodeFolder(dir, node.id), 'server.log')}`,
      { cause },
    )
  }
}
