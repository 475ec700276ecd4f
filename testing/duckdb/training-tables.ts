import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type MemoryLog, memoryLog } from '../../infra/log/memory/memory-log.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { openDuckDbSink } from '../../sinks/duckdb/duckdb-sink.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { emptyTables } from './empty-tables.ts'
import { append, createTopics, type Story } from './recorded-tower.ts'
import { FormedGroups, type Place, timeOf } from './recorded-training.ts'

export type Row = Record<string, unknown>
export type Ask = (sql: string) => Promise<Row[]>

/** Empty tables over an empty log in memory, until the test ends. */
export async function tables({
  types = catalogue,
  observe,
}: {
  types?: readonly EventType[]
  observe?: (ask: Ask) => Promise<void>
} = {}) {
  const log = memoryLog()
  await createTopics(log)
  const watched = observe === undefined ? {} : { batch_bytes: 1, observe: () => observe(ask) }
  const sink = await openDuckDbSink({
    file: await emptyTables(join(await temporaryFolder(), 'test.duckdb')),
    log,
    catalogue: types,
    views,
    serve: false,
    ...watched,
  })
  onTestFinished(() => sink.close())
  const connection = await sink.connect()
  onTestFinished(() => connection.disconnectSync())
  const ask: Ask = async (sql) => (await connection.runAndReadAll(sql)).getRowObjectsJson()
  return { log, ask, load: () => sink.loadOnce() }
}

/** What a subscription may ask about a group. */
export interface Formed {
  readonly place: Place
  readonly task: string
  readonly flat: boolean
}
export const form = (story: Story, { place, task, flat }: Formed) =>
  story.formed(place.group_id, flat ? [1, 1] : [2, 0], undefined, { task, zero_variance: flat })

/** The time of the event of a number, as DuckDB prints it. */
export const time = (number: number | undefined) =>
  number === undefined ? null : timeOf(number).replace('T', ' ').replace('.000Z', '+00')

/** Forms groups of these names. */
export async function formedIn(log: MemoryLog, ...names: readonly string[]): Promise<Place[]> {
  const places = new FormedGroups()
  const groups = names.map((name) => ({ place: places.place(name), task: 'x_only', flat: false }))
  for (const group of groups) await append(log, (story) => form(story, group))
  return groups.map(({ place }) => place)
}
