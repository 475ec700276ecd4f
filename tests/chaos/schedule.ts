import { random } from '../../environments/tower/random.ts'
import { type BlobsAway, tellBlobsAway, withBlobsAway } from '../../testing/crew/blobs-away.ts'
import { type Kill, killOf, tellKill, times, withTablesKilled } from '../../testing/crew/kills.ts'
import { WORKERS, type WorkerName } from '../../testing/crew/places.ts'
import { pick } from '../../testing/pick.ts'

export const NODES = [1, 2, 3] as const
export type NodeId = (typeof NODES)[number]

/** Ten times that of a local disk: markers and positions are replicated to other nodes. */
const COMMIT_MS = 40

export type Fault =
  | Kill
  /** Stopped for longer than its session. At `appended`, it has appended a transaction, and resumes to commit it. */
  | { readonly kind: 'zombie'; readonly place: WorkerName; readonly at: 'any moment' | 'appended' }
  /** SIGKILL; started again after `for_ms`. */
  | { readonly kind: 'kill a broker'; readonly node: NodeId; readonly for_ms: number }
  /** SIGSTOP for longer than the cluster's session timeout: others lead its partitions when it is back. */
  | { readonly kind: 'stop a broker'; readonly node: NodeId; readonly for_ms: number }
  /** SIGSTOP of all three for longer than the transaction timeout: coordinators abort every open transaction. */
  | { readonly kind: 'stall the cluster'; readonly for_ms: number }
  /** A fourth worker joins and leaves. */
  | { readonly kind: 'rebalance'; readonly for_ms: number }
  | BlobsAway

export interface Step {
  readonly fault: Fault
  /** Pause before the fault. */
  readonly pause_ms: number
  /** How long a killed process stays down. */
  readonly empty_ms: number
}

/** The faults of a seed, in order; the same seed and number give the same faults. Two fifths are process kills. */
export function scheduleOf(seed: string, faults: number): Step[] {
  const draw = random('chaos', seed)
  const share = (part: number) => Math.max(1, Math.round(faults * part))
  const others = [
    ...times(share(0.18), () => 'zombie' as const),
    ...times(share(0.15), () => 'kill a broker' as const),
    ...times(share(0.07), () => 'stop a broker' as const),
    ...times(share(0.15), () => 'rebalance' as const),
    ...times(share(0.05), () => 'stall the cluster' as const),
  ].slice(0, faults)
  const kinds = draw.shuffled([...others, ...times(faults - others.length, () => 'kill' as const)])
  let zombies = 0
  const steps = kinds.map((kind) => {
    const fault = ((): Fault => {
      if (kind === 'kill') return killOf(draw, COMMIT_MS)
      if (kind === 'zombie') {
        return { kind, place: pick(draw, WORKERS), at: zombies++ % 2 === 0 ? 'appended' : 'any moment' }
      }
      if (kind === 'stall the cluster') return { kind, for_ms: draw.integer(7_000, 10_000) }
      if (kind === 'rebalance') return { kind, for_ms: draw.integer(200, 4_000) }
      const for_ms = kind === 'kill a broker' ? draw.integer(0, 6_000) : draw.integer(5_000, 9_000)
      return { kind, node: pick(draw, NODES), for_ms }
    })()
    return { fault, pause_ms: draw.integer(100, 1_200), empty_ms: draw.integer(0, 1_200) }
  })
  return withTablesKilled(seed, withBlobsAway(seed, steps, share(0.05)), share(0.05))
}

/** One line for a person. */
export function tell(fault: Fault): string {
  const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`
  switch (fault.kind) {
    case 'kill':
    case 'kill at':
    case 'kill tables':
      return tellKill(fault)
    case 'zombie':
      return `SIGSTOP ${fault.place} past its session, at ${fault.at}`
    case 'kill a broker':
      return `kill -9 broker ${fault.node}, down for ${seconds(fault.for_ms)}`
    case 'stop a broker':
      return `SIGSTOP broker ${fault.node} for ${seconds(fault.for_ms)}`
    case 'stall the cluster':
      return `SIGSTOP all brokers for ${seconds(fault.for_ms)}`
    case 'blobs away':
      return tellBlobsAway(fault)
    case 'rebalance':
      return `a fourth worker for ${seconds(fault.for_ms)}`
  }
}
