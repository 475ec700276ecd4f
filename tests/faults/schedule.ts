import { random } from '../../environments/tower/random.ts'
import { type BlobsAway, tellBlobsAway, withBlobsAway } from '../../testing/crew/blobs-away.ts'
import { type Kill, killOf, tellKill, times, withTablesKilled } from '../../testing/crew/kills.ts'
import { WORKERS, type WorkerName } from '../../testing/crew/places.ts'
import { pick } from '../../testing/pick.ts'

const COMMIT_MS = 4

export type Fault =
  | Kill
  /** Stopped past its lease. At `appended`, it has appended a transaction, and resumes to commit it. */
  | { readonly kind: 'stop outside a write'; readonly place: WorkerName; readonly at: 'any moment' | 'appended' }
  | { readonly kind: 'stop inside a write'; readonly place: WorkerName }
  /** Also kills one worker, which starts again on the full disk. */
  | { readonly kind: 'fill the disk'; readonly left_bytes: number; readonly killed: WorkerName }
  | { readonly kind: 'clock jump'; readonly by_ms: number }
  | BlobsAway

export interface Step {
  readonly fault: Fault
  /** Pause before the fault. */
  readonly pause_ms: number
  /** How long a killed process stays down. */
  readonly empty_ms: number
}

export interface Sizes {
  readonly kills: number
  readonly stops_outside: number
  readonly stops_inside: number
  readonly full_disks: number
  readonly clock_jumps: number
  readonly blobs_away: number
  readonly tables_killed: number
}

/** Numbers of the other faults, in proportion to the kills. */
export function sizesOf(kills: number): Sizes {
  const per = (every: number) => Math.max(1, Math.round(kills / every))
  return {
    kills,
    stops_outside: per(12),
    stops_inside: per(16),
    full_disks: per(16),
    clock_jumps: per(12),
    blobs_away: per(16),
    tables_killed: per(12),
  }
}

/** The faults of a seed, in order. The same seed and sizes give the same schedule. */
export function scheduleOf(seed: string, sizes: Sizes): Step[] {
  const draw = random('faults', seed)
  const kinds = draw.shuffled([
    ...times(sizes.kills, () => 'kill' as const),
    ...times(sizes.stops_outside, () => 'stop outside a write' as const),
    ...times(sizes.stops_inside, () => 'stop inside a write' as const),
    ...times(sizes.full_disks, () => 'fill the disk' as const),
    ...times(sizes.clock_jumps, () => 'clock jump' as const),
  ])
  let stops = 0
  const steps = kinds.map((kind) => {
    const fault = ((): Fault => {
      if (kind === 'kill') return killOf(draw, COMMIT_MS)
      if (kind === 'stop outside a write') {
        return { kind, place: pick(draw, WORKERS), at: stops++ % 2 === 0 ? 'appended' : 'any moment' }
      }
      if (kind === 'stop inside a write') return { kind, place: pick(draw, WORKERS) }
      if (kind === 'fill the disk') {
        return { kind, left_bytes: draw.integer(0, 64) * 4096, killed: pick(draw, WORKERS) }
      }
      return { kind, by_ms: pick(draw, JUMPS_MS) }
    })()
    return { fault, pause_ms: draw.integer(200, 1_800), empty_ms: draw.integer(0, 1_200) }
  })
  return withTablesKilled(seed, withBlobsAway(seed, steps, sizes.blobs_away), sizes.tables_killed)
}

const HOUR_MS = 3_600_000
const JUMPS_MS = [90_000, HOUR_MS, -HOUR_MS, 20 * HOUR_MS, -20 * HOUR_MS, 72 * HOUR_MS, -72 * HOUR_MS]

/** One line for a person. */
export function tell(fault: Fault): string {
  if (fault.kind === 'kill' || fault.kind === 'kill at' || fault.kind === 'kill tables') return tellKill(fault)
  if (fault.kind === 'blobs away') return tellBlobsAway(fault)
  if (fault.kind === 'stop outside a write') return `SIGSTOP ${fault.place} past its lease, at ${fault.at}`
  if (fault.kind === 'stop inside a write') return `SIGSTOP ${fault.place} inside a write transaction`
  if (fault.kind === 'fill the disk')
    return `fill the disk to ${fault.left_bytes} bytes, kill -9 ${fault.killed} meanwhile`
  return `the clock jumps by ${fault.by_ms / 1_000} s`
}
