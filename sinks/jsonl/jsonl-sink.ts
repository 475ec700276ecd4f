import { join } from 'node:path'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { RecordSink, type RecordStore } from '../record-sink.ts'
import type { PlacedSink } from '../sink.ts'
import type { SinkOpening } from '../sink-kind.ts'
import type { UnreadableRecord } from '../unreadable-record.ts'
import { JsonlFolder } from './jsonl-folder.ts'
import { readStored, type Stored } from './positions-file.ts'
import { UnreadableLines } from './unreadable-lines.ts'

export interface JsonlSinkOptions extends SinkOpening {
  /** Made if it does not exist. */
  readonly dir: string
}

export const fileOf = (name: string) => `${name}.jsonl`
const UNREADABLE = fileOf('unreadable')

/**
 * Writes every record of the event topics as one line of JSON, as `tail --json` prints it, except that large columns
 * stay references. A file for each event type, `dead_letters.jsonl`, and `unreadable.jsonl` for records that are no
 * event: once one can be read, it is the next line of its file. An event that the log holds twice is two lines with the
 * same id.
 *
 * Opens the folder as its one writer.
 *
 * @throws PlaceBusyError; JsonlFolderError when the folder is not as this sink left it.
 */
export async function openJsonlSink(options: JsonlSinkOptions): Promise<PlacedSink> {
  const { dir, catalogue } = options
  const names = [...catalogue.map(({ type }) => type), DEAD_LETTERS_TOPIC].map(fileOf)
  const folder = await JsonlFolder.open(dir, [...names, UNREADABLE])
  try {
    const store = storeIn(folder, await unreadableLines(dir, folder.stored), options)
    return new RecordSink({ ...options, name: 'jsonl', who: 'the JSON Lines sink', place: dir, store })
  } catch (cause) {
    folder.close()
    throw cause
  }
}

/** What the sink of this folder lists as unreadable, also while a run writes there. @throws JsonlFolderError */
export async function unreadableIn(dir: string): Promise<readonly UnreadableRecord[]> {
  const stored = await readStored(dir)
  if (stored === undefined) return []
  return await (await unreadableLines(dir, stored)).list(undefined, Number.POSITIVE_INFINITY)
}

const unreadableLines = (dir: string, { lengths, unreadable }: Stored) =>
  UnreadableLines.read(join(dir, UNREADABLE), lengths.get(UNREADABLE) ?? 0, unreadable)

function storeIn(folder: JsonlFolder, listed: UnreadableLines, { observe }: JsonlSinkOptions): RecordStore {
  return {
    stored: () => folder.stored,
    unreadable: (after, most) => listed.list(after, most),
    async commit(batch, positions) {
      const lines = new Map<string, string[]>()
      const add = (name: string, json: string) => {
        const some = lines.get(fileOf(name)) ?? []
        lines.set(fileOf(name), some)
        some.push(`${json}\n`)
      }
      for (const { topic, json } of batch.stored) add(topic, json)
      const notes = listed.adding(batch, folder.stored.unreadable)
      if (notes.lines.length > 0) lines.set(UNREADABLE, notes.lines)
      const before = folder.stored
      try {
        await folder.commit(lines, { positions, unreadable: notes.counts }, observe)
      } finally {
        if (folder.stored !== before) notes.committed()
      }
    },
    close: () => folder.close(),
  }
}
