import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { positionOf } from '../../infra/log/port/seen.ts'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { recordAt, type SinkDriver, smallCommits } from '../conformance/driver.ts'
import { openDuckDbSink } from './duckdb-sink.ts'

const fileIn = (folder: string) => join(folder, 'tables.duckdb')

export const driver: SinkDriver = {
  name: 'duckdb',
  stages: ['appended', 'committed'],
  repeated_event: 'once',
  open: (folder, opening) =>
    openDuckDbSink({ ...smallCommits(opening), views, serve: false, wait_ms: 0, file: fileIn(folder) }),
  async contents(folder) {
    const instance = await DuckDBInstance.create(fileIn(folder))
    const connection = await instance.connect()
    try {
      const rows = async (sql: string) => (await connection.runAndReadAll(sql)).getRows()
      const tables = [...catalogue.map(({ type }) => [type, type]), [DEAD_LETTERS_TOPIC, 'internal.dead_letters']]
      const places = tables.map(
        ([topic, table]) => `SELECT '${topic}', log_partition, log_offset FROM ${table} GROUP BY ALL`,
      )
      const stored = await rows(`${places.join(' UNION ALL ')} ORDER BY ALL`)
      const unreadable = await rows('SELECT topic, "partition", "offset" FROM internal.unreadable')
      const positions = await rows('SELECT topic, "partition", next FROM internal.positions')
      const placeOf = ([topic, partition, offset]: unknown[]) =>
        recordAt(topic as string, partition as number, offset as bigint)
      return {
        records: stored.map(placeOf),
        unreadable: unreadable.map(placeOf),
        positions: positions.map(([topic, partition, next]) =>
          positionOf(topic as string, partition as number, next as bigint),
        ),
      }
    } finally {
      connection.disconnectSync()
      instance.closeSync()
    }
  },
}
