import { existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { kafkaArtifacts } from './artifacts.ts'
import { BrokerError } from './broker-error.ts'
import { makeCertificates } from './certificates.ts'
import { classArchive } from './class-archive.ts'
import { bootstrapOf, type ClientSettings, clientSettings } from './client-settings.ts'
import {
  type Cluster,
  type ClusterNode,
  newCluster,
  nodeFolder,
  readCluster,
  type User,
  type Wanted,
  writeCluster,
} from './cluster.ts'
import { withFileLock } from './file-lock.ts'
import { findJava } from './java.ts'
import { pidOf, stopNode } from './node-process.ts'
import { nodePorts } from './ports.ts'
import { startNodes } from './start-nodes.ts'
import { formatStorage, writeConfiguration } from './storage.ts'

export interface BrokerOptions {
  /** Holds everything of this broker: configuration, data, logs, certificates, process numbers. */
  readonly dir: string
  /** When left out: as an existing broker was created, or 1. */
  readonly nodes?: 1 | 3 | undefined
  readonly sasl?: boolean | undefined
  readonly tls?: Wanted['tls'] | undefined
  /** Heap of each node, in the form of Java's -Xmx. */
  readonly heap?: string | undefined
  /** How long the nodes may take until they answer. */
  readonly patience_ms?: number | undefined
  readonly say?: ((line: string) => void) | undefined
}

/** A real Apache Kafka on this machine, whose processes outlive the one that started them. */
export interface LocalBroker {
  readonly dir: string
  /** host:port,… of every node. */
  readonly bootstrap: string
  /** The environment for Plumbline's own commands. */
  readonly settings: ClientSettings
  /** The user with all rights; undefined if no login is needed. */
  readonly admin: User | undefined
  readonly nodes: readonly LocalNode[]
  /** Which of them this call had to start. */
  readonly started: readonly number[]
  stop(): Promise<void>
}

export interface LocalNode {
  readonly id: number
  readonly port: number
  /** Undefined while it does not run. */
  readonly pid: number | undefined
  /** Sends SIGKILL; resolves when the process has ended. */
  kill(): Promise<void>
  /** Resolves when the node is ready. */
  start(): Promise<void>
  stop(): Promise<void>
}

/** Time for a node to hand over its partitions and close its files. Then it is killed; its next start recovers it. */
const STOP_PATIENCE_MS = 15_000

/**
 * Starts the nodes of the folder's broker that do not run; creates the broker first if there is none. Returns when
 * every started node answers and knows all others.
 *
 * @throws BrokerError when Java or Maven is missing, when the folder has a different kind of broker than requested, or
 * when a node does not come up.
 */
export async function startBroker(options: BrokerOptions): Promise<LocalBroker> {
  const dir = resolve(options.dir)
  const say = options.say ?? (() => {})
  const java = findJava()
  const artifacts = await kafkaArtifacts(say)
  mkdirSync(dir, { recursive: true })
  const tools = { java, artifacts, java_options: await classArchive(java, artifacts, say) }
  const command = { ...tools, heap: options.heap ?? '512m', patience_ms: options.patience_ms ?? 120_000, say }
  return withFileLock(
    lockFile(dir),
    async () => {
      const cluster = await formatted(await clusterOf(dir, options))
      const missing = cluster.nodes.map(({ id }) => id).filter((id) => pidOf(dir, id) === undefined)
      return brokerOf(dir, await startNodes(dir, cluster, missing, command), missing, command)
    },
    () => say('waiting for another process that starts or stops this broker'),
  )

  async function formatted(cluster: Cluster): Promise<Cluster> {
    if (cluster.formatted) return cluster
    say('making the storage of the broker (once)')
    if (cluster.tls !== null) await makeCertificates(dir, cluster.tls, java)
    await Promise.all(
      cluster.nodes.map(async (node) => {
        writeConfiguration(dir, cluster, node)
        await formatStorage(dir, cluster, node, tools)
      }),
    )
    const done = { ...cluster, formatted: true }
    writeCluster(dir, done)
    return done
  }
}

/** Ends every node of a folder's broker, at once with a patience of 0. @returns how many ran */
export async function stopBroker(dir: string, { patience_ms = STOP_PATIENCE_MS } = {}): Promise<number> {
  const cluster = readCluster(resolve(dir))
  if (cluster === undefined) return 0
  return withFileLock(lockFile(resolve(dir)), async () => {
    const stopped = await Promise.all(cluster.nodes.map(({ id }) => stopNode(resolve(dir), id, patience_ms)))
    return stopped.filter((ran) => ran).length
  })
}

const lockFile = (dir: string) => join(dir, 'lock')

/** The folder's cluster, created if there is none. */
async function clusterOf(dir: string, wanted: BrokerOptions): Promise<Cluster> {
  const cluster = readCluster(dir)
  if (cluster !== undefined) {
    refuseOtherKind(dir, cluster, wanted)
    return cluster
  }
  if (existsSync(nodeFolder(dir, 1))) {
    throw new BrokerError(
      `${dir} holds a broker's data, but no cluster.json that describes it`,
      `restore the file, or remove ${dir} and with it what the broker holds`,
    )
  }
  const { ids, ...rest } = newCluster({
    nodes: wanted.nodes ?? 1,
    sasl: wanted.sasl ?? false,
    tls: wanted.tls ?? false,
  })
  const made = { ...rest, nodes: await nodePorts(ids) }
  writeCluster(dir, made)
  return made
}

function refuseOtherKind(dir: string, cluster: Cluster, { nodes, sasl, tls }: BrokerOptions): void {
  const differences = [
    ...(nodes !== undefined && nodes !== cluster.nodes.length
      ? [`${cluster.nodes.length} node${cluster.nodes.length === 1 ? '' : 's'}, not ${nodes}`]
      : []),
    ...(sasl && cluster.users === null ? ['no SASL'] : []),
    ...(tls && cluster.tls === null ? ['no TLS'] : []),
  ]
  if (differences.length === 0) return
  throw new BrokerError(
    `the broker in ${dir} was made with ${differences.join(' and ')}`,
    `name another folder with --data, or stop it and remove ${dir} and with it what the broker holds`,
  )
}

function brokerOf(
  dir: string,
  cluster: Cluster,
  started: readonly number[],
  command: Parameters<typeof startNodes>[3],
): LocalBroker {
  // A node that is started again may get another port.
  let now = cluster
  const locked = <T>(work: () => Promise<T>) => withFileLock(lockFile(dir), work)
  return {
    dir,
    started,
    admin: cluster.users?.admin,
    get bootstrap() {
      return bootstrapOf(now)
    },
    get settings() {
      return clientSettings(dir, now)
    },
    nodes: cluster.nodes.map(({ id }, at) => ({
      id,
      get port() {
        return (now.nodes[at] as ClusterNode).port
      },
      get pid() {
        return pidOf(dir, id)
      },
      async kill() {
        await stopNode(dir, id, 0)
      },
      async start() {
        await locked(async () => {
          const missing = pidOf(dir, id) === undefined ? [id] : []
          now = await startNodes(dir, readCluster(dir) ?? now, missing, { ...command, alone: true })
        })
      },
      async stop() {
        await locked(() => stopNode(dir, id, STOP_PATIENCE_MS))
      },
    })),
    async stop() {
      await stopBroker(dir)
    },
  }
}
