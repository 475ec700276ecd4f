import type { MetricFamily } from './open-metrics.ts'
import type { WorkerEvent } from './worker.ts'

interface Stage {
  records: number
  outputs: number
  dead_letters: number
  commits: number
  retries: number
  partitions_lost: number
  /** Of the last restore of each partition. */
  readonly restores: Map<number, { seconds: number; changelog_records: number }>
  /** Why it is not at work now. */
  trouble: string | undefined
}

/** What the workers of this process have done since it started, for whoever scrapes. */
export class RunMetrics {
  readonly #stages = new Map<string, Stage>()
  readonly #lags: () => Promise<ReadonlyMap<string, number>>

  /** @param lags messages behind by stage, looked up when metrics are asked for */
  constructor(stages: readonly string[], lags: () => Promise<ReadonlyMap<string, number>>) {
    this.#lags = lags
    for (const stage of stages) this.#of(stage)
  }

  workerEvent(name: string, event: WorkerEvent): void {
    const stage = this.#of(name)
    switch (event.kind) {
      case 'committed':
        stage.records += event.records
        stage.outputs += event.outputs
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
    return troubles
  }

  async families(): Promise<MetricFamily[]> {
    const stages = [...this.#stages]
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
      counter('outputs', 'Events that were said and committed.', (stage) => stage.outputs),
      counter('dead_letters', 'Records that the stage could not take.', (stage) => stage.dead_letters),
      counter('commits', 'Transactions that were committed.', (stage) => stage.commits),
      counter('retries', 'Attempts that failed on the surroundings and were made again.', (stage) => stage.retries),
      counter('partitions_lost', 'Partitions that went to another owner.', (stage) => stage.partitions_lost),
      {
        name: 'plumbline_lag_messages',
        type: 'gauge',
        help: 'Records that the stage has yet to read, at most.',
        samples: [...(await this.#lags())].map(([stage, value]) => ({ labels: { stage }, value })),
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
    const counts = { records: 0, outputs: 0, dead_letters: 0, commits: 0, retries: 0, partitions_lost: 0 }
    const stage: Stage = { ...counts, restores: new Map(), trouble: undefined }
    this.#stages.set(name, stage)
    return stage
  }
}
