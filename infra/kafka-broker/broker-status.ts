import { resolve } from 'node:path'
import { type ClientSettings, clientSettings } from './client-settings.ts'
import { readCluster, type User } from './cluster.ts'
import { pidOf } from './node-process.ts'
import { doorOf } from './start-nodes.ts'
import { askNode } from './wire.ts'

export interface BrokerStatus {
  readonly dir: string
  readonly settings: ClientSettings
  readonly admin: User | undefined
  readonly nodes: readonly NodeStatus[]
  /** Leader of the controllers' quorum. */
  readonly leader: number | undefined
}

export interface NodeStatus {
  readonly id: number
  readonly address: string
  readonly pid: number | undefined
  /** True, or why it does not answer. */
  readonly answers: true | string
}

/** Which nodes of a folder's broker answer; undefined if none was ever created. */
export async function brokerStatus(dir: string, patience_ms = 3_000): Promise<BrokerStatus | undefined> {
  const cluster = readCluster(resolve(dir))
  if (cluster === undefined) return undefined
  const leaders: number[] = []
  const nodes = await Promise.all(
    cluster.nodes.map(async ({ id, port }): Promise<NodeStatus> => {
      const node = { id, address: `127.0.0.1:${port}`, pid: pidOf(resolve(dir), id) }
      // If the node does not run, anything that answers at its address is another program.
      if (node.pid === undefined) return { ...node, answers: 'it does not run' }
      try {
        const { leader } = await askNode(doorOf(cluster, port), patience_ms)
        if (leader !== undefined) leaders.push(leader)
        return { ...node, answers: true }
      } catch (error) {
        return { ...node, answers: (error as Error).message }
      }
    }),
  )
  const settings = clientSettings(resolve(dir), cluster)
  return { dir: resolve(dir), settings, admin: cluster.users?.admin, nodes, leader: leaders[0] }
}
