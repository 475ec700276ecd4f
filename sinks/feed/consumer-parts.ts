import type { RowOfEvent } from '../../schemas/declare/event.ts'
import type { consumerSubscribed } from '../../schemas/events/training.ts'
import type { NumberedGroup } from './open-groups.ts'

export type Subscription = RowOfEvent<typeof consumerSubscribed>

/** What a rank of the current epoch has done. */
export interface RankState {
  /** Its last step, and the groups of it. */
  readonly begun: number
  readonly groups: readonly number[]
  readonly applied: number
  /** Its last lease, so that a repeated request gets the same one. */
  readonly request?: string
  readonly lease?: number
}

export interface RunState {
  readonly run: string
  readonly epoch: number
  readonly attempt: string
  readonly world_size: number
  readonly lineage: string
  /** That it has resumed from. */
  readonly checkpoint: string | null
  /** Of that checkpoint. */
  readonly step: number
}

export interface Checkpoint {
  readonly checkpoint: string
  readonly parent: string | null
  readonly run: string
  readonly epoch: number
  readonly step: number
  readonly lineage: string
  readonly policy_version: number | null
  readonly weights_sha256: string
  /** Since the parent. */
  readonly groups: readonly NumberedGroup[]
}
