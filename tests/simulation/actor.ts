/** A simulated process: all code runs on behalf of one. A stalled one does nothing for a while, a dead one never again. */
export interface Actor {
  readonly name: string
  readonly is_worker: boolean
  /** How often it gets a turn, relative to others: some machines are slow. */
  readonly pace: number
  state: 'running' | 'stalled' | 'dead'
}
