import { type Random, random } from '../../environments/tower/random.ts'
import type { CommitStage } from '../../sinks/duckdb/duckdb-batch.ts'
import { pick } from '../pick.ts'
import { type Place, STAGES, type Stage, WORKERS, type WorkerName } from './places.ts'

export type Kill =
  | { readonly kind: 'kill'; readonly place: Place }
  | {
      readonly kind: 'kill at'
      readonly place: WorkerName
      readonly stage: Stage
      /** Counted from now: 1 is the next commit. */
      readonly commit: number
      readonly delay_ms: number
    }
  | TablesKilled

/** DuckDB's own process, which the sink's process starts again. */
export interface TablesKilled {
  readonly kind: 'kill tables'
  /** At any moment when left out. */
  readonly at?: { readonly stage: CommitStage; readonly commit: number }
}

/** Half of the kills happen at any moment, half at a named point of a commit, which takes up to about `commit_ms`. */
export function killOf(draw: Random, commit_ms: number): Kill {
  if (draw.uniform() < 0.5) {
    const place = pick(draw, [...WORKERS, ...WORKERS, 'sink', 'reader', 'generate', 'pace'] as const)
    return { kind: 'kill', place }
  }
  if (draw.uniform() < 0.15) {
    const stage = pick(draw, ['appended', 'committed'] as const)
    return { kind: 'kill tables', at: { stage, commit: draw.integer(1, 3) } }
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
  if (kill.kind === 'kill tables') {
    const where = kill.at === undefined ? '' : ` in its commit ${kill.at.commit} from now, ${kill.at.stage}`
    return `kill -9 DuckDB's process${where}`
  }
  const late = kill.stage === 'committing' ? `, ${kill.delay_ms} ms into it` : ''
  return `kill -9 ${kill.place} in its commit ${kill.commit} from now, ${kill.stage}${late}`
}

/**
 * Inserts kills of DuckDB's process into a schedule. A separate random stream places them, so a seed's other faults do
 * not change.
 */
export function withTablesKilled<S extends object>(seed: string, steps: readonly S[], count: number) {
  const draw = random('tables killed', seed)
  const all: (S | TablesKilledStep)[] = [...steps]
  for (let i = 0; i < count; i++) {
    // Every other one inside a transaction.
    const at = i % 2 === 0 ? { at: { stage: 'appended', commit: draw.integer(1, 3) } as const } : {}
    const fault: TablesKilled = { kind: 'kill tables', ...at }
    all.splice(draw.integer(0, all.length), 0, { fault, pause_ms: draw.integer(100, 1_000), empty_ms: 0 })
  }
  return all
}

export interface TablesKilledStep {
  readonly fault: TablesKilled
  readonly pause_ms: number
  readonly empty_ms: number
}

export function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make)
}
