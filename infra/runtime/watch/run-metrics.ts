import type { WorkerEvent } from '../work/worker.ts'
import type { MetricFamily } from './open-metrics.ts'

interface Stage {
  records: number
  outputs: number
  dead_letters: number
  commits: number
  skips: number
  retries: number
  partitions_lost: number
  /** The last restore of each partition. */
  readonly restores: Map<number, { seconds: number; changelog_records: number }>
  readonly outputs_by_type: Map<string, number>
  /** It has joined its group and restored its state. */
  ready: boolean
  /** Why it cannot work now. */
  trouble: string | undefined
}

/** The health of a component other than a worker: why it cannot work now, and how often it has retried. */
export interface Health {
  readonly trouble: string | undefined
  readonly retries: number
  /** How many records of each topic it has skipped because it cannot read them. */
  readonly unreadable?: Readonly<Record<string, number>>
  /** For a component with its own process: how often that was restarted. */
  readonly restarts?: number
  /** The memory of that process in bytes, once measured. */
  readonly memory_bytes?: number | undefined
}

export interface Readiness {
  readonly status: 'starting' | 'ready' | 'stopping'
  /** Stages that have not joined, or have left. */
  readonly waiting: readonly string[]
}

/** Metrics of this process since its start. */
export class RunMetrics {
  readonly #stages = new Map<string, Stage>()
  readonly #lags: () => Promise<ReadonlyMap<string, number> | undefined>
  readonly #beside: ReadonlyMap<string, () => Health>
  #stopping = false

  /**
   * @param lags lag in messages by stage, read when metrics are requested; undefined when the log does not answer
   * @param beside the components that are not workers: the sink
   */
  constructor(
    stages: readonly { readonly name: string; readonly outputs: readonly string[] }[],
    lags: () => Promise<ReadonlyMap<string, number> | undefined>,
    beside: ReadonlyMap<string, () => Health> = new Map(),
  ) {
    this.#lags = lags
    this.#beside = beside
    // A counter must exist from the beginning, or its first increase is not visible.
    for (const { name, outputs } of stages) {
      const { outputs_by_type } = this.#of(name)
      for (const type of outputs) outputs_by_type.set(type, 0)
    }
  }

  /** The run was told to stop: from now on it is not ready. */
  stop(): void {
    this.#stopping = true
  }

  workerEvent(name: string, event: WorkerEvent): void {
    const stage = this.#of(name)
    switch (event.kind) {
      case 'committed':
        stage.records += event.records
        stage.outputs += event.outputs
        for (const [type, count] of Object.entries(event.outputs_by_type))
          stage.outputs_by_type.set(type, (stage.outputs_by_type.get(type) ?? 0) + count)
        stage.dead_letters += event.dead_letters
        stage.commits++
        stage.trouble = undefined
        return
      case 'restored': {
        const { partition, ms, changelog_records } = event
        stage.restores.set(partition, { seconds: ms / 1_000, changelog_records })
        stage.trouble = undefined
        return
      }
      case 'joined':
        stage.ready = true
        stage.trouble = undefined
        return
      case 'left':
        stage.ready = false
        return
      case 'skipped':
        stage.skips++
        return
      case 'lost':
        stage.partitions_lost += event.partitions.length
        return
      case 'retrying':
        stage.retries++
        stage.trouble = event.error.message
    }
  }

  /** Which stages cannot work now, and why. */
  troubles(): ReadonlyMap<string, string> {
    const troubles = new Map<string, string>()
    for (const [name, { trouble }] of this.#stages) if (trouble !== undefined) troubles.set(name, trouble)
    for (const [name, health] of this.#beside) {
      const { trouble } = health()
      if (trouble !== undefined) troubles.set(name, trouble)
    }
    return troubles
  }

  readiness(): Readiness {
    const waiting = [...this.#stages].filter(([, { ready }]) => !ready).map(([name]) => name)
    return { status: this.#stopping ? 'stopping' : waiting.length > 0 ? 'starting' : 'ready', waiting }
  }

  async families(): Promise<MetricFamily[]> {
    const stages = [...this.#stages]
    const beside = [...this.#beside].map(([name, health]) => [name, health()] as const)
    const troubles = this.troubles()
    const lags = await this.#lags()
    const counter = (name: string, help: string, of: (stage: Stage) => number): MetricFamily => ({
      name: `plumbline_${name}`,
      type: 'counter',
      help,
      samples: stages.map(([stage, counts]) => ({ labels: { stage }, value: of(counts) })),
    })
    const restored = (of: (restore: { seconds: number; changelog_records: number }) => number) =>
      stages.flatMap(([stage, { restores }]) =>
        [...restores].map(([partition, restore]) => ({
          labels: { stage, partition: String(partition) },
          value: of(restore),
        })),
      )
    return [
      counter('records', 'Input records that were processed and committed.', (stage) => stage.records),
      counter('outputs', 'Events that were emitted and committed.', (stage) => stage.outputs),
      counter('dead_letters', 'Records that the stage could not take.', (stage) => stage.dead_letters),
      counter('commits', 'Transactions that were committed.', (stage) => stage.commits),
      counter('skips', 'Partitions of which retention removed what was not read yet.', (stage) => stage.skips),
      {
        name: 'plumbline_events',
        type: 'counter',
        help: 'Events that were emitted and committed, by type.',
        samples: stages.flatMap(([stage, { outputs_by_type }]) =>
          [...outputs_by_type].map(([type, value]) => ({ labels: { stage, type }, value })),
        ),
      },
      {
        name: 'plumbline_retries',
        type: 'counter',
        help: 'Attempts that failed on the surroundings and were made again.',
        samples: [...stages, ...beside].map(([stage, { retries }]) => ({ labels: { stage }, value: retries })),
      },
      {
        name: 'plumbline_restarts',
        type: 'counter',
        help: 'Processes of the stage that ended unasked and were started again.',
        samples: beside.flatMap(([stage, { restarts }]) =>
          restarts === undefined ? [] : [{ labels: { stage }, value: restarts }],
        ),
      },
      {
        name: 'plumbline_stage_memory_bytes',
        type: 'gauge',
        unit: 'bytes',
        help: 'Memory that the process of the stage has for itself, where it has one of its own.',
        samples: beside.flatMap(([stage, { memory_bytes }]) =>
          memory_bytes === undefined ? [] : [{ labels: { stage }, value: memory_bytes }],
        ),
      },
      {
        name: 'plumbline_trouble',
        type: 'gauge',
        help: '1 while the stage waits for its surroundings; /healthz names it.',
        samples: [...stages, ...beside].map(([stage]) => ({ labels: { stage }, value: troubles.has(stage) ? 1 : 0 })),
      },
      {
        name: 'plumbline_unreadable_records',
        type: 'gauge',
        help: 'Records that the stage has passed and cannot read; they are read again now and then.',
        samples: beside.flatMap(([stage, { unreadable = {} }]) =>
          Object.entries(unreadable).map(([topic, value]) => ({ labels: { stage, topic }, value })),
        ),
      },
      {
        name: 'plumbline_ready',
        type: 'gauge',
        help: '1 while the stage is a member of its group and its state is restored.',
        samples: stages.map(([stage, { ready }]) => ({ labels: { stage }, value: ready ? 1 : 0 })),
      },
      {
        name: 'plumbline_log_reachable',
        type: 'gauge',
        help: '0 when the log did not answer while these numbers were collected.',
        samples: [{ labels: {}, value: lags === undefined ? 0 : 1 }],
      },
      counter('partitions_lost', 'Partitions that went to another owner.', (stage) => stage.partitions_lost),
      {
        name: 'plumbline_lag_messages',
        type: 'gauge',
        help: 'Records that the stage has yet to read, at most.',
        samples: [...(lags ?? [])].map(([stage, value]) => ({ labels: { stage }, value })),
      },
      {
        name: 'plumbline_restore_seconds',
        type: 'gauge',
        unit: 'seconds',
        help: 'How long the last restore of a partition took.',
        samples: restored(({ seconds }) => seconds),
      },
      {
        name: 'plumbline_restore_changelog_records',
        type: 'gauge',
        help: 'Changelog records that the last restore of a partition read after the snapshot.',
        samples: restored(({ changelog_records }) => changelog_records),
      },
      {
        name: 'plumbline_memory_resident_bytes',
        type: 'gauge',
        unit: 'bytes',
        help: 'Resident memory of the process, mapped pages of the log included.',
        samples: [{ labels: {}, value: process.memoryUsage.rss() }],
      },
    ]
  }

  #of(name: string): Stage {
    const known = this.#stages.get(name)
    if (known !== undefined) return known
    const counts = { records: 0, outputs: 0, dead_letters: 0, commits: 0, skips: 0, retries: 0, partitions_lost: 0 }
    const maps = { restores: new Map(), outputs_by_type: new Map() }
    const stage: Stage = { ...counts, ...maps, ready: false, trouble: undefined }
    this.#stages.set(name, stage)
    return stage
  }
}
