import { type Random, random } from '../../environments/tower/random.ts'

/** The places that a process of the test has; whoever dies in one is followed by another. */
export const WORKERS = ['worker-1', 'worker-2', 'worker-3'] as const
export type WorkerName = (typeof WORKERS)[number]
export type Place = WorkerName | 'sink' | 'reader' | 'generate' | 'pace'

/** `committing`: while the commit is under way, so long after `appended` as the fault says. */
export const STAGES = ['processed', 'appended', 'committing', 'committed'] as const
export type Stage = (typeof STAGES)[number]

export type Fault =
  | { readonly kind: 'kill'; readonly place: Place }
  | {
      readonly kind: 'kill at'
      readonly place: WorkerName | 'sink'
      readonly stage: Stage
      /** Which commit from now on. */
      readonly commit: number
      readonly delay_ms: number
    }
  /** Past its lease; `appended` has everything of a commit ready and comes back to make it. */
  | { readonly kind: 'stop outside a write'; readonly place: WorkerName; readonly at: 'any moment' | 'appended' }
  | { readonly kind: 'stop inside a write'; readonly place: WorkerName }
  /** And one worker is killed and started again on the full disk. */
  | { readonly kind: 'fill the disk'; readonly left_bytes: number; readonly killed: WorkerName }
  | { readonly kind: 'clock jump'; readonly by_ms: number }

export interface Step {
  readonly fault: Fault
  /** How long everything is left alone before. */
  readonly pause_ms: number
  /** How long the place of a killed process stays empty. */
  readonly empty_ms: number
}

export interface Sizes {
  readonly kills: number
  readonly stops_outside: number
  readonly stops_inside: number
  readonly full_disks: number
  readonly clock_jumps: number
}

/** As many of the other faults as go with so many kills. */
export function sizesOf(kills: number): Sizes {
  const per = (every: number) => Math.max(1, Math.round(kills / every))
  return { kills, stops_outside: per(12), stops_inside: per(16), full_disks: per(16), clock_jumps: per(12) }
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
  return kinds.map((kind) => {
    const fault = ((): Fault => {
      if (kind === 'kill') return killOf(draw)
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
}

const HOUR_MS = 3_600_000
const JUMPS_MS = [90_000, HOUR_MS, -HOUR_MS, 20 * HOUR_MS, -20 * HOUR_MS, 72 * HOUR_MS, -72 * HOUR_MS]

/** Half of them come out of the blue, half at a named point of a commit. */
function killOf(draw: Random): Fault {
  if (draw.uniform() < 0.5) {
    const place = pick(draw, [...WORKERS, ...WORKERS, 'sink', 'reader', 'generate', 'pace'] as const)
    return { kind: 'kill', place }
  }
  if (draw.uniform() < 0.15) {
    const stage = pick(draw, ['appended', 'committed'] as const)
    return { kind: 'kill at', place: 'sink', stage, commit: draw.integer(1, 3), delay_ms: 0 }
  }
  return {
    kind: 'kill at',
    place: pick(draw, WORKERS),
    stage: pick(draw, [...STAGES, 'committing'] as const),
    commit: draw.integer(1, 5),
    delay_ms: draw.integer(0, 4),
  }
}

function pick<T>(draw: Random, items: readonly T[]): T {
  return items[draw.integer(0, items.length - 1)] as T
}

function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make)
}

/** One line for a person. */
export function tell(fault: Fault): string {
  if (fault.kind === 'kill') return `kill -9 ${fault.place}`
  if (fault.kind === 'kill at') {
    const late = fault.stage === 'committing' ? `, ${fault.delay_ms} ms into it` : ''
    return `kill -9 ${fault.place} in its commit ${fault.commit} from now, ${fault.stage}${late}`
  }
  if (fault.kind === 'stop outside a write') return `SIGSTOP ${fault.place} past its lease, at ${fault.at}`
  if (fault.kind === 'stop inside a write') return `SIGSTOP ${fault.place} inside a write transaction`
  if (fault.kind === 'fill the disk')
    return `fill the disk to ${fault.left_bytes} bytes, kill -9 ${fault.killed} meanwhile`
  return `the clock jumps by ${fault.by_ms / 1_000} s`
}
