import {
  RecordBatch as ArrowRecordBatch,
  type Data,
  type RecordBatch,
  RecordBatchReader,
  RecordBatchStreamWriter,
  type Schema,
  Struct,
} from 'apache-arrow'
import { columnOf } from './arrow-columns.ts'

/** Arrow IPC streams of one batch: what an Arrow event's value is, and what an offloaded column is. */

const END_OF_STREAM_BYTES = 8
const schemaMessages = new WeakMap<Schema, Uint8Array>()

/** Writes a schema's message from memory: it is most of the work of writing a small batch, and always the same. */
class StreamWriter extends RecordBatchStreamWriter {
  protected override _writeSchema(schema: Schema): this {
    const message = schemaMessages.get(schema) ?? schemaMessage(schema)
    schemaMessages.set(schema, message)
    return this._write(message)
  }
}

function schemaMessage(schema: Schema): Uint8Array {
  const writer = new RecordBatchStreamWriter()
  writer.reset(undefined, schema)
  return writer.finish().toUint8Array(true).slice(0, -END_OF_STREAM_BYTES)
}

export function writeStream(schema: Schema, columns: readonly Data[], rows: number): Uint8Array {
  const table = columnOf(new Struct(schema.fields), rows, { children: [...columns] })
  const writer = new StreamWriter()
  writer.write(new ArrowRecordBatch(schema, table as Data<Struct>))
  return writer.finish().toUint8Array(true)
}

/**
 * @throws Error when the bytes are not an Arrow IPC stream, or claim more rows than they could hold.
 */
export function readStream(bytes: Uint8Array): { schema: Schema; batches: RecordBatch[] } {
  const reader = RecordBatchReader.from(bytes)
  reader.open()
  // Taken now: a reader that has come to the end has forgotten it.
  const schema: Schema | undefined = reader.schema
  if (schema === undefined) throw new Error('there is no schema')
  const batches = [...reader]
  for (const batch of batches) {
    // Even a row of nothing but its key takes an offset of four bytes.
    if (batch.numRows * 4 > bytes.length) throw new Error(`${batch.numRows} rows cannot lie in ${bytes.length} bytes`)
  }
  return { schema, batches }
}
