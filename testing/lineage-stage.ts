import { expect, onTestFinished } from 'vitest'
import { httpClient } from '../infra/http/http-client.ts'
import { withShortPolls } from '../infra/log/conformance/altered-log.ts'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import { placedModels } from '../infra/models/placed-models.ts'
import { effectWorker } from '../infra/runtime/work/effect-worker.ts'
import type { Worker, WorkerEvent } from '../infra/runtime/work/worker.ts'
import { activateModels } from '../processors/activate-models/activate-models.ts'
import { askPolicy } from '../processors/ask-policy/ask-policy.ts'
import type { DataOf, EventType } from '../schemas/declare/event.ts'
import { NO_MANIFEST } from '../schemas/events/model.ts'
import { decodeEvent } from '../schemas/wire/codec.ts'
import { ModelPublisher } from '../sources/published-model.ts'
import { recordsOf } from './counting.ts'
import { PARTITIONS, PolicyStage, type Row, vocabulary } from './policy-stage.ts'
import { temporaryFolder } from './temporary-folder.ts'
import { tinyAdapter } from './tiny-adapter.ts'

const LINEAGE = 'lab/run-1'
const BASE = 'tiny'

/** A log with requests and published adapters, and the workers that load them and ask for completions. */
export class LineageStage {
  readonly requests: PolicyStage
  readonly folder: string
  readonly events: WorkerEvent[] = []

  private constructor(requests: PolicyStage, folder: string) {
    this.requests = requests
    this.folder = folder
  }

  static async open(groups: number, group_size = 4): Promise<LineageStage> {
    return new LineageStage(await PolicyStage.open(groups, group_size), await temporaryFolder())
  }

  get #log() {
    return memoryLog({ broker: this.requests.broker })
  }

  /** @param weights adapters of the same number have the same weights; without a check, whatever they are */
  async publish(version: number, weights: number | Buffer = version): Promise<void> {
    const { blobs } = this.requests
    const adapter = tinyAdapter(typeof weights === 'number' ? weights : 0, BASE)
    const bytes = typeof weights === 'number' ? adapter.weights : weights
    const files = [
      { name: 'adapter_config.json' as const, blob: await blobs.put(adapter.config, 'application/json') },
      { name: 'adapter_model.safetensors' as const, blob: await blobs.put(bytes, 'application/octet-stream') },
    ]
    const rest = { role: 'policy' as const, parent: null, trained_on: [], metrics: {}, trained_at: null }
    const publisher = new ModelPublisher({ log: this.#log, blobs, partitions: PARTITIONS })
    const model = { ...NO_MANIFEST, ...rest, lineage: LINEAGE, version, files, base: BASE }
    expect(await publisher.publish(model, 'test')).toMatchObject({ published: 'now' })
  }

  /** Both workers until `stop`; the test's end stops them too. */
  start(url: string, { max_staleness = 1, timeout_ms = 5_000, concurrency = 8, only = '' } = {}) {
    const stop = new AbortController()
    const shared = {
      ...{ log: withShortPolls(this.#log), blobs: this.requests.blobs, vocabulary, partitions: PARTITIONS },
      onEvent: (event: WorkerEvent) => this.events.push(event),
      tuning: { commit_interval_ms: 5, session_timeout_ms: 2_000 },
      outside: {
        http: httpClient(),
        models: (blobs: Pick<PolicyStage['blobs'], 'get'>) => placedModels(this.folder, blobs),
        limits: { waits: { first_ms: 10, longest_ms: 50, permanent_ms: 100 }, timeout_ms, concurrency },
      },
    }
    const workers = [activateModels({ url, lineage: LINEAGE, max_staleness }), askPolicy({ url, lineage: LINEAGE })]
      .filter(({ name }) => only === '' || name === only)
      .map((processor) => effectWorker({ ...shared, processor, instance: `${processor.name}/${performance.now()}` }))
    const running = Promise.all(workers.map((worker: Worker) => worker.run(stop.signal)))
    const end = async () => {
      stop.abort()
      await running
    }
    onTestFinished(end)
    const idle = () => workers.every((worker) => worker.idle)
    return { end, idle }
  }

  async run(url: string, options: Parameters<LineageStage['start']>[1] = {}): Promise<void> {
    const { end, idle } = this.start(url, options)
    await untilTrue(idle, 5)
    await end()
  }

  rows = (): Promise<Row[]> => this.requests.rows()

  /** Every event of a type, once. */
  async all<T extends EventType>(type: T): Promise<DataOf<T>[]> {
    const records = await recordsOf(this.#log, type.type)
    const events = new Map(records.map((record) => decodeEvent(record, vocabulary)).map((event) => [event.id, event]))
    return [...events.values()].map((event) => event.data as unknown as DataOf<T>)
  }

  troubles(): string[] {
    return this.events.flatMap((event) => (event.kind === 'retrying' ? [event.error.message] : []))
  }

  notices(): string[] {
    return this.events.flatMap((event) => (event.kind === 'notice' ? [event.message] : []))
  }
}

/** Waits until it is true so many times in a row. */
export async function untilTrue(look: () => boolean | Promise<boolean>, times = 1): Promise<void> {
  const until_ms = performance.now() + 20_000
  for (let found = 0; found < times; found = (await look()) ? found + 1 : 0) {
    if (performance.now() > until_ms) throw new Error(`expected ${look} within 20 s`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
