import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { positionOf } from '../../infra/log/port/seen.ts'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { openDuckDbSink } from '../duckdb/sink.ts'
import { fileOf } from '../jsonl/jsonl-batch.ts'
import { openJsonlSink } from '../jsonl/jsonl-sink.ts'
import { readStored } from '../jsonl/positions-file.ts'
import { recordAt, type SinkDriver } from './driver.ts'

/** Commits of a few records, so that loading takes several. */
const BATCH_BYTES = 2_000
const POLL_MS = 10
const TYPES = catalogue.map(({ type }) => type)

const duckdbFile = (folder: string) => join(folder, 'tables.duckdb')

const duckdb: SinkDriver = {
  name: 'duckdb',
  stages: ['appended', 'committed'],
  repeated_event: 'once',
  open(folder, opening) {
    const how = { catalogue, views, serve: false, wait_ms: 0, batch_bytes: BATCH_BYTES, poll_ms: POLL_MS }
    return openDuckDbSink({ ...opening, ...how, file: duckdbFile(folder) })
  },
  async contents(folder) {
    const instance = await DuckDBInstance.create(duckdbFile(folder))
    const connection = await instance.connect()
    try {
      const rows = async (sql: string) => (await connection.runAndReadAll(sql)).getRows()
      const tables = [...TYPES.map((type) => [type, type]), [DEAD_LETTERS_TOPIC, 'internal.dead_letters']]
      const places = tables.map(
        ([topic, table]) => `SELECT '${topic}', log_partition, log_offset FROM ${table} GROUP BY ALL`,
      )
      const stored = await rows(`${places.join(' UNION ALL ')} ORDER BY ALL`)
      const positions = await rows('SELECT topic, "partition", next FROM internal.positions')
      return {
        records: stored.map(([topic, partition, offset]) =>
          recordAt(topic as string, partition as number, offset as bigint),
        ),
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

const jsonl: SinkDriver = {
  name: 'jsonl',
  stages: ['appending', 'appended', 'committed'],
  repeated_event: 'twice',
  open: (folder, opening) =>
    openJsonlSink({ ...opening, catalogue, dir: join(folder, 'events'), batch_bytes: BATCH_BYTES, poll_ms: POLL_MS }),
  async contents(folder) {
    const dir = join(folder, 'events')
    const stored = await readStored(dir)
    const records: string[] = []
    for (const name of [...TYPES, DEAD_LETTERS_TOPIC].map(fileOf)) {
      if (!existsSync(join(dir, name))) continue
      // A reader takes what was committed: a killed process may have left more.
      const text = readFileSync(join(dir, name))
        .subarray(0, stored?.lengths.get(name) ?? 0)
        .toString()
      for (const line of text.split('\n').slice(0, -1)) {
        const { topic, partition, offset } = JSON.parse(line) as { topic: string; partition: number; offset: number }
        records.push(recordAt(topic, partition, offset))
      }
    }
    return { records, positions: stored?.positions ?? [] }
  },
}

export const DRIVERS: Readonly<Record<string, SinkDriver>> = { duckdb, jsonl }
