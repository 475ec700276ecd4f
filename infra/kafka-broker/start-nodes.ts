import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Artifacts } from './artifacts.ts'
import { BrokerError } from './broker-error.ts'
import { type Cluster, nodeFolder, writeCluster } from './cluster.ts'
import type { Java } from './java.ts'
import { pidOf, spawnNode, stopNode } from './node-process.ts'
import { freePorts } from './ports.ts'
import { loggingOption, writeConfiguration } from './storage.ts'
import { askNode, type Door } from './wire.ts'

export interface StartCommand {
  readonly java: Java
  readonly artifacts: Artifacts
  readonly heap: string
  readonly patience_ms: number
  readonly say: (line: string) => void
  /** Do not wait until the started nodes know all others, which may be down. */
  readonly alone?: boolean
}

const TRIES = 5

/**
 * Starts these nodes and waits until they answer. Ports that others took meanwhile are exchanged for free ones.
 *
 * @returns the cluster with the ports that it has now
 */
export async function startNodes(
  dir: string,
  cluster: Cluster,
  ids: readonly number[],
  command: StartCommand,
): Promise<Cluster> {
  for (let now = cluster, tries = 1; ; tries++) {
    for (const id of ids) spawn(dir, now, id, command)
    try {
      await ready(dir, now, ids, command)
      return now
    } catch (error) {
      await Promise.all(ids.map((id) => stopNode(dir, id, 0)))
      if (!(error instanceof PortTakenError) || tries === TRIES) throw error
      command.say(`${error.message}; choosing other ports`)
      now = await withOtherPorts(now, ids)
      writeCluster(dir, now)
    }
  }
}

function spawn(dir: string, cluster: Cluster, id: number, { java, artifacts, heap }: StartCommand): void {
  const node = cluster.nodes.find((one) => one.id === id)
  if (node === undefined) throw new Error(`there is no node ${id}`)
  writeConfiguration(dir, cluster, node)
  // What is in it afterwards is of this start.
  rmSync(logOf(dir, id), { force: true })
  const options = [`-Xmx${heap}`, '-XX:+UseSerialGC', loggingOption]
  spawnNode(dir, id, { java: java.java, options, classpath: artifacts.classpath })
}

/** How to reach a node of a cluster to look at it. */
export function doorOf(cluster: Cluster, port: number): Door {
  return { port, user: cluster.users?.admin, ca: cluster.tls === null ? undefined : 'any' }
}

async function ready(dir: string, cluster: Cluster, ids: readonly number[], command: StartCommand): Promise<void> {
  const deadline = performance.now() + command.patience_ms
  const expected = command.alone ? [] : cluster.nodes.map(({ id }) => id)
  for (const id of ids) {
    const { port } = cluster.nodes.find((one) => one.id === id) as { port: number }
    for (let trouble = 'nothing yet'; ; ) {
      try {
        const known = (await askNode(doorOf(cluster, port), 2_000)).nodes.map((one) => one.id)
        if ([id, ...expected].every((one) => known.includes(one))) break
        trouble = `it knows of node ${known.join(', ') || 'none'} only`
      } catch (error) {
        trouble = (error as Error).message
      }
      for (const one of ids) if (pidOf(dir, one) === undefined) throw ended(dir, one)
      if (performance.now() > deadline) throw slow(dir, id, command.patience_ms, trouble)
      await wait(100)
    }
  }
}

class PortTakenError extends BrokerError {}

const logOf = (dir: string, id: number) => join(nodeFolder(dir, id), 'server.log')

function ended(dir: string, id: number): BrokerError {
  const log = existsSync(logOf(dir, id)) ? readFileSync(logOf(dir, id), 'utf8') : ''
  const remedy = `see ${logOf(dir, id)} and java.log beside it`
  if (/Address already in use|BindException/.test(log))
    return new PortTakenError(`node ${id}: another program has taken its port`, remedy)
  const said = readFileSync(join(nodeFolder(dir, id), 'java.log'), 'utf8')
    .trim()
    .split('\n')
  const lines = log.split('\n')
  const why = lines.find((line) => /^\S+ \S+ (FATAL|ERROR) /.test(line)) ?? said[0]
  return new BrokerError(`node ${id} of the broker ended while it started: ${why || 'it said nothing'}`, remedy)
}

function slow(dir: string, id: number, patience_ms: number, trouble: string): BrokerError {
  return new BrokerError(
    `node ${id} of the broker was not ready within ${patience_ms / 1000} s: ${trouble}`,
    `see ${logOf(dir, id)}; a busy machine may need longer`,
  )
}

/** Other ports for these nodes. A controller's port is known to the others, so it changes only where none of them runs. */
async function withOtherPorts(cluster: Cluster, ids: readonly number[]): Promise<Cluster> {
  const all = ids.length === cluster.nodes.length
  const ports = await freePorts(2 * cluster.nodes.length)
  const nodes = cluster.nodes.map((node, at) =>
    ids.includes(node.id)
      ? {
          ...node,
          port: ports[2 * at] as number,
          controller_port: all ? (ports[2 * at + 1] as number) : node.controller_port,
        }
      : node,
  )
  return { ...cluster, nodes }
}
