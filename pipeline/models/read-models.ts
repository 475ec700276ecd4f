import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { decodeUnlessPoison } from '../../infra/runtime/execute/decode-record.ts'
import { readRange } from '../../infra/runtime/internal/json-records.ts'
import type { DataOf, Event } from '../../schemas/declare/event.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { modelPublished, modelRefused } from '../../schemas/events/model.ts'
import type { Partitions } from '../../schemas/wire/partitions.ts'

export interface ModelsOf {
  readonly log: Log
  readonly blobs: Blobs
  readonly partitions: Partitions
}

/** A published model, when it was published and by whom. */
export interface KnownModel extends DataOf<typeof modelPublished> {
  readonly time: string
  readonly source: string
  /** Which processors cannot use it, and why. */
  readonly refused: readonly { readonly processor: string; readonly reason: string }[]
}

const VOCABULARY = catalogueOf([modelPublished, modelRefused])

/** Every model that a log has, each once, in the order of their times. Records that cannot be decoded are left out. */
export async function readModels(of: ModelsOf): Promise<KnownModel[]> {
  const models = new Map<string, Event<typeof modelPublished>>()
  for await (const event of eventsIn(of, modelPublished.type)) {
    // Every partition has a copy of each; the first release had one record.
    if (!models.has(event.id)) models.set(event.id, event as Event<typeof modelPublished>)
  }
  const refused = new Map<string, Map<string, string>>()
  for await (const event of eventsIn(of, modelRefused.type)) {
    const { model_id, processor, reason } = event.data as unknown as DataOf<typeof modelRefused>
    const reasons = refused.get(model_id) ?? new Map<string, string>()
    refused.set(model_id, reasons.set(processor, reason))
  }
  return [...models.values()]
    .map(({ data, time, source }) => {
      const reasons = [...(refused.get(data.model_id) ?? [])]
      return { ...data, time, source, refused: reasons.map(([processor, reason]) => ({ processor, reason })) }
    })
    .sort((one, other) => (one.time < other.time ? -1 : one.time > other.time ? 1 : 0))
}

async function* eventsIn({ log, blobs, partitions }: ModelsOf, topic: string): AsyncGenerator<Event> {
  const there = (await log.topics()).find(({ name }) => name === topic)
  for (let partition = 0; partition < (there?.partitions ?? 0); partition += 1) {
    for await (const record of readRange(log, topic, partition, 0n)) {
      const event = await decodeUnlessPoison(record, VOCABULARY, partitions, blobs)
      if (event !== undefined) yield event
    }
  }
}
