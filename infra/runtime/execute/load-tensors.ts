import { type Event, type EventType, rowsOf } from '../../../schemas/declare/event.ts'
import { TensorRef } from '../../../schemas/declare/tensor-value.ts'
import { readTensor } from '../../../schemas/wire/offload.ts'
import type { Blobs } from '../../blobs/blobs.ts'

/** The same event with the elements of all its tensors. @throws what `get` throws; PoisonError */
export async function withElements<T extends EventType>(event: Event<T>, blobs: Pick<Blobs, 'get'>): Promise<Event<T>> {
  if (!Array.isArray(event.data)) return event
  const columns = new Map<string, Promise<Uint8Array>>()
  const bytesOf = ({ column }: TensorRef) => {
    const bytes = columns.get(column.sha256) ?? blobs.get(column)
    columns.set(column.sha256, bytes)
    return bytes
  }
  const rows: Record<string, unknown>[] = []
  for (const row of rowsOf(event as Event)) {
    const loaded = { ...row }
    for (const [name, value] of Object.entries(row)) {
      if (value instanceof TensorRef) loaded[name] = readTensor(value, await bytesOf(value))
    }
    rows.push(loaded)
  }
  return { ...event, data: rows as typeof event.data }
}
