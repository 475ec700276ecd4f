import { hostname } from 'node:os'
import { modelFaults } from '../infra/models/check/check-model.ts'
import { servedBlobsOf } from '../pipeline/blob-stores.ts'
import type { DataFolder } from '../pipeline/data-folder.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { openSql } from '../sinks/duckdb/sql-client.ts'
import type { Doors } from '../sinks/feed/doors/doors.ts'
import { publishable } from '../sinks/feed/doors/publishable.ts'
import { HandedEvents } from '../sources/handed-events.ts'
import { ModelPublisher } from '../sources/published-model.ts'
import type { Topology } from '../streams/topology.ts'

/** What a feed serves besides groups: blobs, events, models, and the tables of its data folder. */
export function feedDoors(
  folder: DataFolder,
  { events, partitions }: Topology,
  report: (message: string) => void,
): { readonly doors: Doors; close(): Promise<void> } {
  const { log, blobs, duckdb_file: file } = folder
  const instance = `${hostname()}/${process.pid}`
  const handed = new HandedEvents({ log, blobs, partitions, report, instance, types: publishable(events) })
  const doors: Doors = {
    blobs: servedBlobsOf(folder.place),
    events: { vocabulary: catalogueOf(events), blobs, hand: (emitted, signal) => handed.hand(emitted, signal) },
    models: new ModelPublisher({ log, blobs, partitions, check: async (files, model) => modelFaults(files, model) }),
    sql: {
      async ask(sql, time_limit_ms) {
        const session = await openSql({ file, time_limit_ms, report })
        const result = await session.query(sql).catch(async (error: unknown) => {
          await session.close()
          throw error
        })
        return { result, close: () => session.close() }
      },
    },
  }
  return { doors, close: () => handed.close() }
}
