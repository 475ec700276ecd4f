import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BrokerError } from './broker-error.ts'

/** What a folder's cluster is; written once, but for ports that others have taken meanwhile. */
export interface Cluster {
  readonly format: 1
  readonly cluster_id: string
  readonly nodes: readonly ClusterNode[]
  /** Who may log in; null where nobody has to. */
  readonly users: Users | null
  readonly tls: Tls | null
  /** False until every node's storage is formatted: before that no node has run. */
  readonly formatted: boolean
}

export interface ClusterNode {
  readonly id: number
  /** For clients. */
  readonly port: number
  /** For the other nodes. */
  readonly node_port: number
  readonly controller_port: number
}

export interface Users {
  /** May do everything: the nodes themselves, and whoever sets access rules. */
  readonly admin: User
  /** May do what no access rule forbids. */
  readonly client: User
}

export interface User {
  readonly name: string
  readonly password: string
}

export interface Tls {
  readonly keystore_password: string
  /** Days from now on; below 0 it has expired, for tests of just that. */
  readonly valid_days: number
}

const clusterFile = (dir: string) => join(dir, 'cluster.json')

export const nodeFolder = (dir: string, id: number) => join(dir, `node-${id}`)

/** @returns undefined where no cluster was ever made */
export function readCluster(dir: string): Cluster | undefined {
  const file = clusterFile(dir)
  if (!existsSync(file)) return undefined
  const remedy = `restore the file, or remove ${dir} and with it what the broker holds`
  let cluster: Cluster
  try {
    cluster = JSON.parse(readFileSync(file, 'utf8')) as Cluster
  } catch (cause) {
    throw new BrokerError(`${file} is damaged: ${(cause as Error).message}`, remedy, { cause })
  }
  if (cluster.format !== 1) throw new BrokerError(`${file}: expected format 1, got ${cluster.format}`, remedy)
  return cluster
}

/** Readable for its owner only: it holds passwords. */
export function writeCluster(dir: string, cluster: Cluster): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const file = clusterFile(dir)
  writeFileSync(`${file}.new`, `${JSON.stringify(cluster, null, 2)}\n`, { mode: 0o600, flush: true })
  renameSync(`${file}.new`, file)
}

export interface Wanted {
  readonly nodes: 1 | 3
  readonly sasl: boolean
  readonly tls: boolean | { readonly valid_days: number }
}

export function newCluster({ nodes, sasl, tls }: Wanted): Omit<Cluster, 'nodes'> & { readonly ids: readonly number[] } {
  const secret = () => randomBytes(18).toString('base64url')
  const user = (name: string) => ({ name, password: secret() })
  const valid_days = typeof tls === 'object' ? tls.valid_days : 3_650
  return {
    format: 1,
    // A UUID in URL-safe base64, as Kafka wants it; a leading dash would look like an option.
    cluster_id: `K${randomBytes(16).toString('base64url').slice(1)}`,
    ids: Array.from({ length: nodes }, (_, at) => at + 1),
    users: sasl ? { admin: user('admin'), client: user('plumbline') } : null,
    tls: tls === false ? null : { keystore_password: secret(), valid_days },
    formatted: false,
  }
}
