/** DuckDB's own process, as the program has it, with a trap in its transactions; or with a planted bug. */
import './shifted-clock.ts'
import { Batch } from '../../sinks/duckdb/duckdb-batch.ts'
import { ownTables } from '../../sinks/duckdb/process/owner.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { openData } from './data.ts'
import { withEarlyTablePositions } from './early-table-positions.ts'
import type { Planted } from './planted.ts'
import { TablesTrap } from './tables-trap.ts'

/** What `sink.ts` gives it as its place. */
export interface TablesPlace {
  readonly data: string
  /** The file of the trap. */
  readonly trap: string
  readonly planted: readonly Planted[]
}

let trap: TablesTrap | undefined

ownTables({
  catalogue,
  views,
  async open({ data, trap: file, planted }: TablesPlace) {
    trap = new TablesTrap(file)
    if (planted.includes('early-table-positions'))
      Batch.prototype.commit = withEarlyTablePositions(Batch.prototype.commit)
    const { log, blobs } = await openData(data, 'read')
    return { log, blobs }
  },
  observe: (stage) => trap?.at(stage),
})
