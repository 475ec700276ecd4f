import type { Random } from '../../environments/tower/random.ts'
import { pick } from '../pick.ts'
import { type Place, STAGES, type Stage, WORKERS, type WorkerName } from './places.ts'

export type Kill =
  | { readonly kind: 'kill'; readonly place: Place }
  | {
      readonly kind: 'kill at'
      readonly place: WorkerName | 'sink'
      readonly stage: Stage
      /** Counted from now: 1 is the next commit. */
      readonly commit: number
      readonly delay_ms: number
    }

/** Half of the kills come at any moment, half at a named point of a commit, which takes up to about `commit_ms`. */
export function killOf(draw: Random, commit_ms: number): Kill {
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
    delay_ms: draw.integer(0, commit_ms),
  }
}

export function tellKill(kill: Kill): string {
  if (kill.kind === 'kill') return `kill -9 ${kill.place}`
  const late = kill.stage === 'committing' ? `, ${kill.delay_ms} ms into it` : ''
  return `kill -9 ${kill.place} in its commit ${kill.commit} from now, ${kill.stage}${late}`
}

export function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make)
}
