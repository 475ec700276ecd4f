import { random } from '../../environments/tower/random.ts'
import { type Kill, killOf, pick, tellKill, times } from '../crew/kills.ts'
import { WORKERS, type WorkerName } from '../crew/places.ts'

export const NODES = [1, 2, 3] as const
export type NodeId = (typeof NODES)[number]

/** Ten times what it is on a disk of one's own: markers and positions go to other nodes. */
const COMMIT_MS = 40

export type Fault =
  | Kill
  /** Silent for longer than its session; `appended` has everything of a commit ready and comes back to make it. */
  | { readonly kind: 'zombie'; readonly place: WorkerName; readonly at: 'any moment' | 'appended' }
  /** SIGKILL, and down for so long. */
  | { readonly kind: 'kill a broker'; readonly node: NodeId; readonly for_ms: number }
  /** SIGSTOP for longer than the cluster waits for it: others lead its partitions when it comes back. */
  | { readonly kind: 'stop a broker'; readonly node: NodeId; readonly for_ms: number }
  /** A fourth worker joins and leaves. */
  | { readonly kind: 'rebalance'; readonly for_ms: number }

export interface Step {
  readonly fault: Fault
  /** How long everything is left alone before. */
  readonly pause_ms: number
  /** How long the place of a killed process stays empty. */
  readonly empty_ms: number
}

/** The faults of a seed, in order; the same seed and number give the same ones. Nearly half are kills of processes. */
export function scheduleOf(seed: string, faults: number): Step[] {
  const draw = random('chaos', seed)
  const share = (part: number) => Math.max(1, Math.round(faults * part))
  const others = [
    ...times(share(0.18), () => 'zombie' as const),
    ...times(share(0.15), () => 'kill a broker' as const),
    ...times(share(0.07), () => 'stop a broker' as const),
    ...times(share(0.15), () => 'rebalance' as const),
  ].slice(0, faults)
  const kinds = draw.shuffled([...others, ...times(faults - others.length, () => 'kill' as const)])
  let zombies = 0
  return kinds.map((kind) => {
    const fault = ((): Fault => {
      if (kind === 'kill') return killOf(draw, COMMIT_MS)
      if (kind === 'zombie') {
        return { kind, place: pick(draw, WORKERS), at: zombies++ % 2 === 0 ? 'appended' : 'any moment' }
      }
      if (kind === 'rebalance') return { kind, for_ms: draw.integer(200, 4_000) }
      const for_ms = kind === 'kill a broker' ? draw.integer(0, 6_000) : draw.integer(5_000, 9_000)
      return { kind, node: pick(draw, NODES), for_ms }
    })()
    return { fault, pause_ms: draw.integer(100, 1_200), empty_ms: draw.integer(0, 1_200) }
  })
}

/** One line for a person. */
export function tell(fault: Fault): string {
  const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`
  switch (fault.kind) {
    case 'kill':
    case 'kill at':
      return tellKill(fault)
    case 'zombie':
      return `SIGSTOP ${fault.place} past its session, at ${fault.at}`
    case 'kill a broker':
      return `kill -9 broker ${fault.node}, down for ${seconds(fault.for_ms)}`
    case 'stop a broker':
      return `SIGSTOP broker ${fault.node} for ${seconds(fault.for_ms)}`
    case 'rebalance':
      return `a fourth worker for ${seconds(fault.for_ms)}`
  }
}
