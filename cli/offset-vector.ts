import { UsageError } from './usage-error.ts'

/** For each topic, the offset of the next record in each partition. */
export type OffsetVector = Readonly<Record<string, readonly number[]>>

/**
 * Offsets as `lag --json` prints them, whole or its `offsets` alone; as JSON or as @FILE.
 *
 * @throws UsageError naming the option
 */
export function offsetVector(text: string, option: string, readFile: (file: string) => string): OffsetVector {
  const remedy = `e.g. ./plumbline lag --json > then.json, and ${option} @then.json`
  const json = text.startsWith('@') ? reading(() => readFile(text.slice(1)), `${option} ${text}`, remedy) : text
  const parsed = reading(() => JSON.parse(json) as unknown, `${option}: expected JSON`, remedy)
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

function reading<T>(read: () => T, what: string, remedy: string): T {
  try {
    return read()
  } catch (cause) {
    throw new UsageError(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, remedy, { cause })
  }
}
