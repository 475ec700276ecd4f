import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import type { ClusterNode } from './cluster.ts'

/** Below the ports of outgoing connections, so that a node that is down for a while finds its port still free. */
const LOWEST = 20_000
const HIGHEST = 32_000

/** Distinct loopback ports that no process listens on at this moment. */
async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  for (let tries = 0; ports.size < count; tries++) {
    if (tries > 1_000) throw new Error(`no ${count} free ports between ${LOWEST} and ${HIGHEST} on 127.0.0.1`)
    const port = randomInt(LOWEST, HIGHEST)
    if (!ports.has(port) && (await isFree(port))) ports.add(port)
  }
  return [...ports]
}

/** Free ports for each of these nodes. */
export async function nodePorts(ids: readonly number[]): Promise<ClusterNode[]> {
  const ports = await freePorts(3 * ids.length)
  return ids.map((id, at) => {
    const [port, node_port, controller_port] = ports.slice(3 * at) as [number, number, number]
    return { id, port, node_port, controller_port }
  })
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
