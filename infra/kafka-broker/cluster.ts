import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeFolder } from '../make-folder.ts'
import { BrokerError } from './broker-error.ts'

/** The cluster of a folder; written once, except for ports, which change if other programs have taken them. */
export interface Cluster {
  readonly format: 1
  readonly cluster_id: string
  readonly nodes: readonly ClusterNode[]
  /** The users that can log in; null if no login is needed. */
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
  /** Has all rights: for the nodes themselves and for setting access rules. */
  readonly admin: User
  /** Has every right that no access rule denies. */
  readonly client: User
}

export interface User {
  readonly name: string
  readonly password: string
}

export interface Tls {
  readonly keystore_password: string
  /** Days from now; below 0 the certificate has expired, for tests of that case. */
  readonly valid_days: number
}

const clusterFile = (dir: string) => join(dir, 'cluster.json')

export const nodeFolder = (dir: string, id: number) => join(dir, `node-${id}`)

/** @returns undefined if no cluster was ever created */
export function readCluster(dir: string): Cluster | undefined {
  const file = clusterFile(dir)
  if (!existsSync(file)) return undefined
  const remedy = `restore the file, or remove ${dir} and with it what the broker holds`
  let cluster: Partial<Cluster> | null
  try {
    cluster = JSON.parse(readFileSync(file, 'utf8')) as Partial<Cluster> | null
  } catch (cause) {
    throw new BrokerError(`${file} is damaged: ${(cause as Error).message}`, remedy, { cause })
  }
  if (cluster?.format !== 1) throw new BrokerError(`${file}: expected format 1, got ${cluster?.format}`, remedy)
  if (!Array.isArray(cluster.nodes)) throw new BrokerError(`${file} is damaged: expected a list of nodes`, remedy)
  return cluster as Cluster
}

/** Readable for its owner only, because it contains passwords. */
export function writeCluster(dir: string, cluster: Cluster): void {
  makeFolder(dir, 0o700)
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
