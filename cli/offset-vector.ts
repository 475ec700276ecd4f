import { UsageError } from '../pipeline/usage-error.ts'
import { FileError, readTextFile } from '../sources/plain-file.ts'

/** For each topic, the offset of the next record in each partition. */
export type OffsetVector = Readonly<Record<string, readonly number[]>>

/**
 * Parses what `lag --json` prints, whole or its `offsets` alone, given as JSON or as @FILE.
 *
 * @throws UsageError naming the option
 */
export async function offsetVector(text: string, option: string): Promise<OffsetVector> {
  const remedy = `e.g. ./plumbline lag --json > then.json, and ${option} @then.json`
  const parsed = parsedJson(text.startsWith('@') ? await textIn(text.slice(1), option, remedy) : text, option, remedy)
  const vector = (parsed as { offsets?: unknown } | null)?.offsets ?? parsed
  const isOffsets = (value: unknown) =>
    Array.isArray(value) && value.every((one) => Number.isSafeInteger(one) && one >= 0)
  if (
    typeof vector !== 'object' ||
    vector === null ||
    Array.isArray(vector) ||
    !Object.values(vector).every(isOffsets)
  ) {
    throw new UsageError(`${option}: expected {"TOPIC": [offset of each partition], …}`, remedy)
  }
  return vector as OffsetVector
}

async function textIn(file: string, option: string, remedy: string): Promise<string> {
  return readTextFile(file).catch((cause: unknown) => {
    throw cause instanceof FileError ? new UsageError(`${option} @${file}: ${cause.message}`, remedy, { cause }) : cause
  })
}

function parsedJson(json: string, option: string, remedy: string): unknown {
  try {
    return JSON.parse(json)
  } catch (cause) {
    throw new UsageError(`${option}: expected JSON: ${(cause as Error).message}`, remedy, { cause })
  }
}
