import { join } from 'node:path'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { RecordSink, type RecordStore } from '../record-sink.ts'
import type { Sink } from '../sink.ts'
import type { SinkOpening } from '../sink-kind.ts'
import { JsonlFolder } from './jsonl-folder.ts'

export interface JsonlSinkOptions extends SinkOpening {
  /** Made if it does not exist. */
  readonly dir: string
}

const UNREADABLE = 'unreadable'
export const fileOf = (name: string) => `${name}.jsonl`

/**
 * Writes every record of the event topics as one line of JSON, as `tail --json` prints it, except that large columns
 * stay references. A file for each event type, `dead_letters.jsonl`, and `unreadable.jsonl` for records that are no
 * event: these are not read again. An event that the log holds twice is two lines with the same id.
 *
 * Opens the folder as its one writer.
 *
 * @throws PlaceBusyError; JsonlFolderError when the folder is not as this sink left it.
 */
export async function openJsonlSink(options: JsonlSinkOptions): Promise<Sink> {
  const { dir, catalogue } = options
  const names = [...catalogue.map(({ type }) => type), DEAD_LETTERS_TOPIC, UNREADABLE]
  const folder = await JsonlFolder.open(dir, names.map(fileOf))
  return new RecordSink({
    ...options,
    name: 'jsonl',
    who: 'the JSON Lines sink',
    place: dir,
    unreadable_in: join(dir, fileOf(UNREADABLE)),
    store: storeIn(folder, options),
  })
}

function storeIn(folder: JsonlFolder, { observe }: JsonlSinkOptions): RecordStore {
  return {
    stored: () => folder.stored,
    async commit(batch, positions) {
      const lines = new Map<string, string[]>()
      const add = (name: string, json: string) => {
        const some = lines.get(fileOf(name)) ?? []
        lines.set(fileOf(name), some)
        some.push(`${json}\n`)
      }
      for (const { topic, json } of batch.stored) add(topic, json)
      const unreadable = { ...folder.stored.unreadable }
      for (const { topic, partition, offset, ce_id, error } of batch.unreadable) {
        add(UNREADABLE, JSON.stringify({ topic, partition, offset: Number(offset), ce_id, error }))
        unreadable[topic] = (unreadable[topic] ?? 0) + 1
      }
      await folder.commit(lines, { positions, unreadable }, observe)
    },
    close: () => folder.close(),
  }
}
