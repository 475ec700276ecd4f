import { createHash } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { flushPath } from '../../infra/flush-path.ts'
import type { Position } from '../../infra/log/port/log.ts'
import { encodeSeen, positionOf } from '../../infra/log/port/seen.ts'
import { startAgain } from '../sink-place.ts'
import type { UnreadableCounts } from '../unreadable-record.ts'

export const POSITIONS_FILE = 'positions.json'
export const DRAFT = `${POSITIONS_FILE}.new`

/** Raised when a folder changes in a way that an older program would misread. */
const FORMAT = 1

/** What a folder has stored. Replaced as a whole, which is the commit. */
export interface Stored {
  readonly positions: readonly Position[]
  /** Bytes of each file, by its name. What lies beyond was not committed. */
  readonly lengths: ReadonlyMap<string, number>
  readonly unreadable: UnreadableCounts
}

/** A folder is not as this sink left it. Continuing would lose or double lines. */
export class JsonlFolderError extends Error {
  override readonly name = 'JsonlFolderError'
  readonly retry = 'never'
  readonly remedy: string

  constructor(message: string, remedy: string) {
    super(message)
    this.remedy = remedy
  }
}

/** What to do with such a folder. */
export const makeAgain = (dir: string) => startAgain('jsonl', dir)

/** @param expected what the file should hold */
export const damagedFile = (file: string, expected: string) =>
  new JsonlFolderError(`${file}: expected ${expected}, found other or damaged content`, makeAgain(dirname(file)))

const whole = z.int().nonnegative()
const formatted = z.object({ format: whole })
const contents = z.object({
  positions: z.array(
    z.object({ topic: z.string(), partition: whole, next: z.string().regex(/^\d+$/), seen: z.string().nullable() }),
  ),
  files: z.record(z.string(), whole),
  unreadable: z.record(z.string(), whole),
})
/** `stored` is text, so that the checksum is of exactly these characters. */
const wrapped = z.object({ sha256: z.string(), stored: z.string() })

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** @returns undefined when there is none @throws JsonlFolderError when it is damaged, or of a newer release */
export async function readStored(dir: string): Promise<Stored | undefined> {
  const file = join(dir, POSITIONS_FILE)
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return undefined
  const found = parsed(wrapped, text)
  const intact = found !== undefined && sha256(found.stored) === found.sha256 ? found.stored : ''
  const format = parsed(formatted, intact)?.format ?? 0
  if (format > FORMAT) {
    const problem = `${file}: expected format ${FORMAT} or older, got ${format}: a newer Plumbline wrote it`
    throw new JsonlFolderError(problem, `use that version; or ${makeAgain(dir)}`)
  }
  const stored = parsed(contents, intact)
  if (stored === undefined) throw damagedFile(file, 'the positions of a JSON Lines sink')
  return {
    positions: stored.positions.map(({ topic, partition, next, seen }) =>
      positionOf(topic, partition, BigInt(next), seen),
    ),
    lengths: new Map(Object.entries(stored.files)),
    unreadable: stored.unreadable,
  }
}

/** Replaces the file: a reader, and the next process, find the former content or this one. */
export async function writeStored(dir: string, { positions, lengths, unreadable }: Stored): Promise<void> {
  const stored = JSON.stringify({
    format: FORMAT,
    positions: positions.map(({ topic, partition, next, seen }) => {
      return { topic, partition, next: String(next), seen: seen === undefined ? null : encodeSeen(seen) }
    }),
    files: Object.fromEntries(lengths),
    unreadable,
  })
  const draft = join(dir, DRAFT)
  const file = await open(draft, 'w')
  try {
    await file.writeFile(`${JSON.stringify({ sha256: sha256(stored), stored })}\n`)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(draft, join(dir, POSITIONS_FILE))
  await flushPath(dir)
}

function parsed<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}
