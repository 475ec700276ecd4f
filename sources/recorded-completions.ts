import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { z } from 'zod'
import type { DataOf, Event } from '../schemas/event.ts'
import { sourceId } from '../schemas/identity.ts'
import { completionsSampled, NO_MODEL } from '../schemas/policy.ts'
import type { Said, Source } from './source.ts'

const nullableNumbers = z.array(z.number()).nullable().default(null)

/** One line of the file: a completion that some policy once wrote. What is left out is not known. */
const line = z.strictObject({
  group_id: z.string().min(1),
  completion_index: z.int().min(0),
  text: z.string(),
  attempt_id: z.string().optional(),
  policy: z.string().optional(),
  /** When it was recorded; the file's own time when left out. */
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

type Line = z.infer<typeof line>

export class RecordingError extends Error {
  override readonly name = 'RecordingError'
}

/**
 * Completions from a JSON Lines file, as facts: a step per run of lines with the same group. Identity follows from the
 * file's content, so that bringing the same file in twice adds nothing.
 *
 * @param policy `recorded(FILE.jsonl)`
 * @throws RecordingError naming the file and line, what was expected and what stands there.
 */
export async function recordedCompletions(policy: string): Promise<Source> {
  const file = fileOf(policy)
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new RecordingError(
      `policy ${policy}: cannot read ${file}: ${error.code === 'ENOENT' ? 'there is no such file' : error.message}`,
    )
  })
  const recorded_at = (await stat(file)).mtime.toISOString()
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const groups = consecutive(parse(file, bytes.toString('utf8')))

  function eventOf(rows: readonly Line[], step: number): Said {
    const [first] = rows as readonly [Line]
    const data: DataOf<typeof completionsSampled> = rows.map(({ time: _time, attempt_id, policy: named, ...row }) => ({
      ...NO_MODEL,
      ...row,
      // As the event holds them: log-probabilities are float32.
      logprobs: row.logprobs?.map(Math.fround) ?? null,
      attempt_id: attempt_id ?? sourceId(['recorded/attempt', sha256, row.group_id]),
      policy: named ?? `recorded(${basename(file)})`,
      trainable: row.token_ids !== null && row.logprobs !== null,
      seed: null,
    }))
    const time = new Date(first.time ?? recorded_at).toISOString()
    const event: Event<typeof completionsSampled> = {
      id: sourceId(['recorded', sha256, String(step), time]),
      source: `/sources/recorded-completions/${sha256.slice(0, 16)}`,
      type: completionsSampled.type,
      version: completionsSampled.version,
      time,
      clock: 'wall',
      key: first.group_id,
      causes: [],
      correlation: first.group_id,
      data,
    }
    return { type: completionsSampled, event: event as unknown as Event }
  }

  return {
    name: `recorded/${sha256}`,
    steps: groups.length,
    produce: async (from, to) => groups.slice(from, to).map((rows, offset) => eventOf(rows, from + offset)),
  }
}

function fileOf(policy: string): string {
  const file = /^recorded\((.+)\)$/.exec(policy)?.[1]
  if (file === undefined) throw new RecordingError(`policy ${policy}: expected recorded(FILE.jsonl)`)
  return file
}

function parse(file: string, text: string): Line[] {
  return text.split('\n').flatMap((source, index) => {
    if (source.trim() === '') return []
    let value: unknown
    try {
      value = JSON.parse(source)
    } catch (error) {
      throw new RecordingError(
        `${file}:${index + 1}: expected a JSON object, got ${source.slice(0, 60)} (${(error as Error).message})`,
      )
    }
    const parsed = line.safeParse(value)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      throw new RecordingError(`${file}:${index + 1}: ${issue?.path.join('.') || 'line'}: ${issue?.message}`)
    }
    return [parsed.data]
  })
}

function consecutive(lines: readonly Line[]): Line[][] {
  const groups: Line[][] = []
  for (const row of lines) {
    const last = groups.at(-1)
    if (last?.[0]?.group_id === row.group_id) last.push(row)
    else groups.push([row])
  }
  return groups
}
