import { setTimeout as wait } from 'node:timers/promises'
import type { LocalNode } from '../../infra/kafka-broker/local-broker.ts'
import { takeBlobsAway } from '../../testing/crew/blobs-away.ts'
import type { Crew } from '../../testing/crew/crew.ts'
import { KAFKA_SESSION_MS } from '../../testing/crew/data.ts'
import {
  Breach,
  commitsGoOn,
  gone,
  isStopped,
  kill,
  PATIENCE_MS,
  PATIENCE_S,
  present,
  replaced,
  working,
} from '../../testing/crew/strikes.ts'
import { killTables } from '../../testing/crew/tables-killed.ts'
import type { Cluster } from './cluster.ts'
import { type Fault, NODES, type Step, tell } from './schedule.ts'

type Of<K extends Fault['kind']> = Extract<Fault, { kind: K }>

/** Injects the fault, checks that the other processes keep working, and repairs it. @returns what happened, as text */
export async function commitFault(
  { crew, cluster, data }: { readonly crew: Crew; readonly cluster: Cluster; readonly data: string },
  { fault, empty_ms }: Step,
): Promise<string> {
  switch (fault.kind) {
    case 'kill':
    case 'kill at':
      return await kill(crew, fault, empty_ms)
    case 'kill tables':
      return await killTables(crew, data, fault)
    case 'zombie':
      return await zombie(crew, fault)
    case 'kill a broker':
      return await without(crew, cluster, fault, {
        take: (node) => node.kill(),
        bring: (node) => node.start(),
      })
    case 'stop a broker':
      return await without(crew, cluster, fault, {
        take: async (node) => signal(node, 'SIGSTOP'),
        bring: async (node) => signal(node, 'SIGCONT'),
      })
    case 'stall the cluster':
      return await stall(crew, cluster, fault)
    case 'blobs away':
      return await takeBlobsAway(crew, data, fault)
    case 'rebalance':
      return await rebalance(crew, fault)
  }
}

/** The broker reassigns the worker's partitions, and rejects its commit when it is back. */
async function zombie(crew: Crew, fault: Of<'zombie'>): Promise<string> {
  const { place, at } = fault
  const pid = await working(crew, place)
  if (at === 'appended') crew.at(place).set({ stage: 'appended', commit: 1, delay_ms: 0, signal: 'SIGSTOP' })
  else crew.at(place).signal('SIGSTOP')
  for (let waited_ms = 0; !isStopped(pid); waited_ms += 5) {
    if (waited_ms > PATIENCE_MS) throw new Breach(`${tell(fault)}: it could not be stopped in ${PATIENCE_S}`)
    await wait(5)
  }
  const how = await replaced(crew, place, pid, { told: tell(fault), session_ms: KAFKA_SESSION_MS })
  await commitsGoOn(crew, `${tell(fault)}: mended`)
  return `${tell(fault)}: ${how}`
}

/** One node of three is down: the other two serve writes and reads, and it catches up when it is back. */
async function without(
  crew: Crew,
  cluster: Cluster,
  fault: Of<'kill a broker' | 'stop a broker'>,
  how: Readonly<Record<'take' | 'bring', (node: LocalNode) => Promise<void>>>,
): Promise<string> {
  const node = cluster.node(fault.node)
  crew.troubled(true)
  await how.take(node)
  try {
    await wait(fault.for_ms)
    await commitsGoOn(crew, tell(fault))
  } finally {
    await how.bring(node)
  }
  const in_sync = await cluster.inSync(PATIENCE_MS)
  crew.troubled(false)
  if (in_sync !== true) throw new Breach(`${tell(fault)}: back, and after ${PATIENCE_S} ${in_sync}`)
  await commitsGoOn(crew, `${tell(fault)}: mended`)
  return `${tell(fault)}: all workers committed without it, and it caught up`
}

/** Every open transaction has timed out when the brokers are back; workers and producers resume by themselves. */
async function stall(crew: Crew, cluster: Cluster, fault: Of<'stall the cluster'>): Promise<string> {
  crew.troubled(true)
  for (const id of NODES) signal(cluster.node(id), 'SIGSTOP')
  try {
    await wait(fault.for_ms)
  } finally {
    for (const id of NODES) signal(cluster.node(id), 'SIGCONT')
  }
  const in_sync = await cluster.inSync(PATIENCE_MS)
  if (in_sync !== true) throw new Breach(`${tell(fault)}: back, and after ${PATIENCE_S} ${in_sync}`)
  await commitsGoOn(crew, `${tell(fault)}: mended`)
  crew.troubled(false)
  return `${tell(fault)}: everything resumed`
}

function signal({ id, pid }: LocalNode, name: NodeJS.Signals): void {
  if (pid === undefined) throw new Breach(`broker ${id} does not run`)
  process.kill(pid, name)
}

async function rebalance(crew: Crew, fault: Of<'rebalance'>): Promise<string> {
  const from = crew.heard.now
  crew.invite()
  const pid = await present(crew, 'guest')
  const taken = await crew.heard.first(from, PATIENCE_MS, ({ place, message }) => {
    return place === 'guest' && message.says === 'restored'
  })
  if (taken === undefined) throw new Breach(`${tell(fault)}: it was given nothing within ${PATIENCE_S}`)
  await wait(fault.for_ms)
  crew.dismiss()
  await gone(crew, 'guest', pid)
  await commitsGoOn(crew, `${tell(fault)}: gone`)
  return `${tell(fault)}: partitions moved to it and back`
}
