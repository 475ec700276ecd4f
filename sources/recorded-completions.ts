import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import type { DataOf, Event } from '../schemas/declare/event.ts'
import { InvalidEventError, shown } from '../schemas/declare/event-errors.ts'
import { completionsSampled, NO_MODEL } from '../schemas/events/policy.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import { RECORDED_SOURCES } from './ce-source.ts'
import { type JsonLine, linesOf, objectIn } from './json-lines.ts'
import { FileError, openPlainFile } from './plain-file.ts'
import { type Emitted, inSteps, type Source, type Steps } from './source.ts'

const nullableNumbers = z.array(z.number()).nullable().default(null)

/** One line of the file: a completion that some policy wrote. Most fields that are left out become null. */
const completion = z.strictObject({
  group_id: z.string().min(1),
  completion_index: z.int().min(0),
  text: z.string(),
  attempt_id: z.string().optional(),
  policy: z.string().optional(),
  /** When it was recorded; default: the file's modification time. */
  time: z.iso.datetime().optional(),
  finish_reason: z.string().nullable().default(null),
  prompt_token_ids: nullableNumbers,
  token_ids: nullableNumbers,
  completion_mask: nullableNumbers,
  logprobs: nullableNumbers,
  logprobs_kind: z.enum(['raw', 'processed']).nullable().default(null),
  token_policy_version: nullableNumbers,
  turn_index: nullableNumbers,
  temperature: z.number().nullable().default(null),
  top_p: z.number().nullable().default(null),
  top_k: z.int().nullable().default(null),
  max_tokens: z.int().nullable().default(null),
  stop: z.array(z.string()).default([]),
  model_id: z.string().nullable().default(null),
  lineage: z.string().nullable().default(null),
  latency_ms: z.number().nullable().default(null),
})

type Line = z.infer<typeof completion>

/** A parsed line of the file. */
interface Completion {
  readonly line: number
  readonly start: number
  readonly end: number
  readonly row: Line
}

/** Consecutive lines of one group; they become one event. */
interface Run {
  readonly completions: readonly Completion[]
  /** CRC-32 of its lines' bytes, without blank lines. */
  readonly checksum: number
}

/** A run's position in the file, and its checksum when the file was checked. */
interface Place {
  readonly start: number
  readonly end: number
  readonly line: number
  readonly checksum: number
}

/** Limits of one transaction, whose lines are all in memory. */
const MAX_STEPS = 100
const MAX_STEPS_BYTES = 16 * 2 ** 20
/** Maximum size of a run. Inferred: 4,096 completions of 8,192 tokens each take about this much. */
const MAX_RUN_BYTES = 2 ** 30

const REMEDY = 'a line is e.g. {"group_id": "…", "completion_index": 0, "text": "<answer>120</answer>"}'

/**
 * Completions from a JSON Lines file, as facts: one step per run of lines of one group. Identity follows from the
 * file's content, so that ingesting the same file twice adds nothing.
 *
 * The whole file is checked before anything is appended: each line, and each event made from them. Therefore it is read
 * twice, a group at a time.
 *
 * @param policy `recorded(FILE.jsonl)`
 * @throws FileError naming the file and line, the expected and the actual value. Nothing has been appended then.
 */
export async function recordedCompletions(policy: string): Promise<Source & Steps> {
  const file = fileOf(policy)
  const before = await stateOf(file)
  const hash = createHash('sha256')
  const places: Place[] = []
  try {
    for await (const run of runsOf(file, linesOf(file, { onBytes: (bytes) => hash.update(bytes) }))) {
      checkRun(file, run, before.modified)
      const [first, last] = [run.completions[0] as Completion, run.completions.at(-1) as Completion]
      places.push({ start: first.start, end: last.end, line: first.line, checksum: run.checksum })
    }
    if (JSON.stringify(await stateOf(file)) !== JSON.stringify(before)) {
      throw new FileError(`${file}: was changed while it was read`, 'wait until it is whole')
    }
  } catch (error) {
    if (!(error instanceof FileError)) throw error
    const { message, remedy } = error as FileError
    throw new FileError(message, `${remedy}; nothing was brought in`, { cause: error })
  }
  const sha256 = hash.digest('hex')

  return inSteps({
    name: `recorded/${sha256}`,
    steps: places.length,
    types: [completionsSampled],
    stepsAt(from) {
      const begin = places[from]?.start ?? 0
      let to = from + 1
      while (to < places.length && to - from < MAX_STEPS && (places[to] as Place).end - begin <= MAX_STEPS_BYTES) to++
      return to - from
    },
    async produce(from, to, signal) {
      const [first, last] = [places[from], places[to - 1]]
      if (first === undefined || last === undefined) return []
      const emitted: Emitted[] = []
      const lines = linesOf(file, { from: { byte: first.start, line: first.line }, to: last.end })
      try {
        for await (const { completions, checksum } of runsOf(file, lines)) {
          signal.throwIfAborted()
          const step = from + emitted.length
          if (checksum !== places[step]?.checksum) throw changed(from)
          const event = eventOf(file, completions, before.modified, sha256, step)
          emitted.push({ type: completionsSampled, event: event as unknown as Event })
        }
      } catch (error) {
        // The file was valid when it was checked, so an error now means that it has changed.
        throw error instanceof FileError ? changed(from) : error
      }
      if (emitted.length !== to - from) throw changed(from)
      return emitted
    },
  })

  /** Steps before `from` are committed; the error reports where to continue. */
  function changed(from: number): FileError {
    const line = places[from]?.line ?? 1
    const so_far = `${from} of ${places.length} parts of groups, all before line ${line}, are in the log`
    return new FileError(
      `${file}:${line}: was changed after it was checked; ${so_far}`,
      'put the file back as it was and run it again: it continues there',
    )
  }
}

function fileOf(policy: string): string {
  const file = /^recorded\((.+)\)$/.exec(policy)?.[1]
  if (file === undefined) throw new FileError(`policy ${policy}: expected recorded(FILE.jsonl)`, REMEDY)
  return file
}

async function stateOf(file: string): Promise<{ size: number; modified: string; inode: number }> {
  const handle = await openPlainFile(file)
  try {
    const { size, mtime, ino } = await handle.stat()
    return { size, modified: mtime.toISOString(), inode: ino }
  } finally {
    await handle.close()
  }
}

/** @throws FileError at the first line that is not a completion, or repeats a completion_index of its run */
async function* runsOf(file: string, lines: AsyncIterable<JsonLine>): AsyncGenerator<Run> {
  let completions: Completion[] = []
  let bytes = 0
  let checksum = 0
  const lineOf = new Map<number, number>()
  for await (const line of lines) {
    const row = rowIn(file, line)
    const { group_id, completion_index } = row
    if (completions.length > 0 && completions[0]?.row.group_id !== group_id) {
      yield { completions, checksum }
      completions = []
      lineOf.clear()
      bytes = 0
      checksum = 0
    }
    const taken = lineOf.get(completion_index)
    if (taken !== undefined) {
      throw new FileError(
        `${file}:${line.number}: completion_index: expected each once in a row of lines of one group, got ${completion_index}, which line ${taken} has for group ${shown(group_id)}`,
        REMEDY,
      )
    }
    bytes += line.bytes.length
    if (bytes > MAX_RUN_BYTES) {
      throw new FileError(
        `${file}:${line.number}: expected at most ${MAX_RUN_BYTES / 2 ** 20} MiB in a row of lines of one group, got more for group ${shown(group_id)}`,
        REMEDY,
      )
    }
    checksum = crc32(line.bytes, checksum)
    lineOf.set(completion_index, line.number)
    completions.push({ line: line.number, start: line.start, end: line.end, row })
  }
  if (completions.length > 0) yield { completions, checksum }
}

function rowIn(file: string, line: JsonLine): Line {
  const value = objectIn(file, line)
  const parsed = completion.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = issue?.path ?? []
  const field = path.join('.') || 'line'
  const actual = path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown>)?.[key], value)
  const got = issue?.code === 'unrecognized_keys' ? '' : `, got ${shown(actual)}`
  throw new FileError(`${file}:${line.number}: ${field}: ${issue?.message}${got}`, REMEDY)
}

/** Placeholder in the checked event for the file's hash, which is not known until the whole file is read. */
const ANY_HASH = '0'.repeat(64)

/** @throws FileError naming the line that violates the event's declaration */
function checkRun(file: string, { completions }: Run, modified: string): void {
  try {
    encodeEvent(completionsSampled, eventOf(file, completions, modified, ANY_HASH, 0) as unknown as Event)
  } catch (error) {
    const [first, last] = [completions[0]?.line, completions.at(-1)?.line]
    const row = error instanceof InvalidEventError ? error.row : undefined
    const where = row === undefined ? (first === last ? first : `${first}–${last}`) : completions[row.index]?.line
    const problem = row?.problem.replace(/^field /, '') ?? (error as Error).message
    throw new FileError(`${file}:${where}: ${problem}`, REMEDY, { cause: error })
  }
}

function eventOf(
  file: string,
  completions: readonly Completion[],
  modified: string,
  sha256: string,
  step: number,
): Event<typeof completionsSampled> {
  const { row: first } = completions[0] as Completion
  const data: DataOf<typeof completionsSampled> = completions.map(
    ({ row: { time: _time, attempt_id, policy: named, ...row } }) => ({
      ...NO_MODEL,
      ...row,
      // The event stores log-probabilities as float32.
      logprobs: row.logprobs?.map(Math.fround) ?? null,
      attempt_id: attempt_id ?? sourceId(['recorded/attempt', sha256, row.group_id]),
      policy: named ?? `recorded(${basename(file)})`,
      trainable: row.token_ids !== null && row.logprobs !== null,
      seed: null,
    }),
  )
  const time = new Date(first.time ?? modified).toISOString()
  return {
    id: sourceId(['recorded', sha256, String(step), time]),
    source: `${RECORDED_SOURCES}${sha256.slice(0, 16)}`,
    type: completionsSampled.type,
    version: completionsSampled.version,
    time,
    clock: 'wall',
    key: first.group_id,
    causes: [],
    correlation: first.group_id,
    data,
  }
}
