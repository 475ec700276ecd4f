import {
  type DuckDBDataChunk,
  type DuckDBListType,
  type DuckDBListValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api'
import duckdb, { type Vector } from '@duckdb/node-bindings'

/** Size of DuckDB's string_t: a length, then 12 bytes with the text, or its prefix and a pointer to it. */
const TEXT_BYTES = 16

/**
 * Sets a column of a data chunk. A text equal to the one in the row before is not passed to DuckDB again: the rows of
 * an event share most of their texts, and one call per text would take longer than the rest of the appending. The same
 * holds for lists of texts that are the same object as in the row before.
 */
export function setColumn(
  chunk: DuckDBDataChunk,
  column: number,
  type: DuckDBType,
  values: readonly DuckDBValue[],
): void {
  if (type.typeId === DuckDBTypeId.VARCHAR) {
    setTexts(duckdb.data_chunk_get_vector(chunk.chunk, column), values as readonly (string | null)[])
  } else if (isListOfTexts(type)) {
    setLists(duckdb.data_chunk_get_vector(chunk.chunk, column), values as readonly (DuckDBListValue | null)[])
  } else chunk.setColumnValues(column, values)
}

function isListOfTexts(type: DuckDBType): boolean {
  return type.typeId === DuckDBTypeId.LIST && (type as DuckDBListType).valueType.typeId === DuckDBTypeId.VARCHAR
}

function setTexts(vector: Vector, values: readonly (string | null)[]): void {
  const count = values.length
  if (count === 0) return
  let before: string | null | undefined
  for (let row = 0; row < count; row++) {
    const value = values[row] as string | null
    if (value === before) continue
    before = value
    if (value !== null) duckdb.vector_assign_string_element(vector, row, value)
  }
  const { buffer, byteOffset } = duckdb.vector_get_data(vector, count * TEXT_BYTES)
  // A repeated text reuses the string_t of the row before, whose bytes belong to the vector.
  const texts = new BigUint64Array(count * 2)
  texts.set(new BigUint64Array(buffer, byteOffset, count * 2))
  for (let row = 1; row < count; row++) {
    if (values[row] !== values[row - 1]) continue
    texts[row * 2] = texts[row * 2 - 2] as bigint
    texts[row * 2 + 1] = texts[row * 2 - 1] as bigint
  }
  duckdb.copy_data_to_vector(vector, 0, texts.buffer, 0, texts.byteLength)
  setNulls(vector, values)
}

function setLists(vector: Vector, values: readonly (DuckDBListValue | null)[]): void {
  const items: (string | null)[] = []
  const entries = new BigUint64Array(values.length * 2)
  for (let row = 0; row < values.length; row++) {
    const value = values[row] as DuckDBListValue | null
    if (row > 0 && value === values[row - 1]) {
      entries[row * 2] = entries[row * 2 - 2] as bigint
      entries[row * 2 + 1] = entries[row * 2 - 1] as bigint
    } else {
      entries[row * 2] = BigInt(items.length)
      entries[row * 2 + 1] = BigInt(value?.items.length ?? 0)
      for (const item of value?.items ?? []) items.push(item as string | null)
    }
  }
  duckdb.list_vector_reserve(vector, items.length)
  duckdb.list_vector_set_size(vector, items.length)
  setTexts(duckdb.list_vector_get_child(vector), items)
  duckdb.copy_data_to_vector(vector, 0, entries.buffer, 0, entries.byteLength)
  setNulls(vector, values)
}

function setNulls(vector: Vector, values: readonly unknown[]): void {
  if (!values.includes(null)) return
  const valid = new Uint8Array(Math.ceil(values.length / 64) * 8).fill(255)
  for (let row = 0; row < values.length; row++) {
    if (values[row] === null) valid[row >> 3] = (valid[row >> 3] as number) & ~(1 << (row & 7))
  }
  duckdb.vector_ensure_validity_writable(vector)
  duckdb.copy_data_to_vector_validity(vector, 0, valid.buffer, 0, valid.byteLength)
}
