import { DuckDBInstance } from '@duckdb/node-api'
import { expect, test } from 'vitest'
import { catalogue } from '../../streams/vocabulary.ts'
import { everyTypeBatch } from '../conformance/arbitrary.ts'
import { defineEvent } from '../declare/event.ts'
import { int32, utf8 } from '../declare/logical-types.ts'
import { clockTicked } from '../events/clock.ts'
import { duckdbTypeOf, tableOf } from './duckdb-table.ts'

test('the statements read like this', () => {
  expect(tableOf(clockTicked).ddl).toMatchInlineSnapshot(`
    "CREATE SCHEMA IF NOT EXISTS "clock";
    CREATE TABLE IF NOT EXISTS "clock"."ticked" (
      "ce_id" VARCHAR NOT NULL,
      "ce_source" VARCHAR NOT NULL,
      "ce_time" TIMESTAMPTZ NOT NULL,
      "ce_clock" VARCHAR NOT NULL,
      "ce_causes" VARCHAR[] NOT NULL,
      "ce_correlation" VARCHAR,
      "ce_producerversion" VARCHAR,
      "ce_modelhash" VARCHAR,
      "ce_seed" VARCHAR,
      "log_partition" INTEGER NOT NULL,
      "log_offset" BIGINT NOT NULL,
      "row" INTEGER NOT NULL,
      "tick" VARCHAR NOT NULL,
      "clock" VARCHAR NOT NULL,
      "time" TIMESTAMPTZ NOT NULL,
      UNIQUE ("ce_id", "row")
    );
    COMMENT ON TABLE "clock"."ticked" IS 'The time of one clock has come this far. The only thing that fires timers.';
    COMMENT ON COLUMN "clock"."ticked"."ce_id" IS 'identity of the event';
    COMMENT ON COLUMN "clock"."ticked"."ce_source" IS 'the producer';
    COMMENT ON COLUMN "clock"."ticked"."ce_time" IS 'the latest of its causes; for a fact, when it was recorded';
    COMMENT ON COLUMN "clock"."ticked"."ce_clock" IS 'virtual or wall: the clock of ce_time';
    COMMENT ON COLUMN "clock"."ticked"."ce_causes" IS 'ce_id of the events that it follows from';
    COMMENT ON COLUMN "clock"."ticked"."ce_correlation" IS 'what belongs together across events';
    COMMENT ON COLUMN "clock"."ticked"."ce_producerversion" IS 'version of the code that emitted it';
    COMMENT ON COLUMN "clock"."ticked"."ce_modelhash" IS 'the model that computed it';
    COMMENT ON COLUMN "clock"."ticked"."ce_seed" IS 'the seed that it was made with';
    COMMENT ON COLUMN "clock"."ticked"."log_partition" IS 'where the log holds it';
    COMMENT ON COLUMN "clock"."ticked"."log_offset" IS 'where the log holds it';
    COMMENT ON COLUMN "clock"."ticked"."row" IS 'row of the batch; 0 for a fact';
    COMMENT ON COLUMN "clock"."ticked"."tick" IS 'clock and time, unique';
    COMMENT ON COLUMN "clock"."ticked"."clock" IS 'which clock';
    COMMENT ON COLUMN "clock"."ticked"."time" IS 'every event of this clock up to here may have been seen';"
  `)
})

test.each([...catalogue, everyTypeBatch])('$type becomes the table that its statement declares', async (type) => {
  // Extensions must not be downloaded: time zones work with the ICU that is linked in.
  const instance = await DuckDBInstance.create(':memory:', { autoinstall_known_extensions: 'false' })
  const connection = await instance.connect()
  const { schema, table, columns, ddl } = tableOf(type)
  await connection.run(ddl)
  await connection.run(ddl)
  const made = await connection.runAndReadAll(
    `SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns() WHERE schema_name = '${schema}' AND table_name = '${table}' ORDER BY column_index`,
  )
  // DuckDB quotes a name in a type only if necessary.
  const read = made.getRowObjects().map((row) => ({ ...row, data_type: String(row.data_type).replaceAll('"', '') }))
  expect(read).toEqual(
    columns.map(({ name, type: declared, nullable, about }) => ({
      column_name: name,
      data_type: declared.replaceAll('TIMESTAMPTZ', 'TIMESTAMP WITH TIME ZONE').replaceAll('"', ''),
      is_nullable: nullable,
      comment: about === '' ? null : about,
    })),
  )
  connection.closeSync()
  instance.closeSync()
})

test('a row is stored once, and its times are instants', async () => {
  const instance = await DuckDBInstance.create(':memory:', { autoinstall_known_extensions: 'false' })
  const connection = await instance.connect()
  await connection.run(tableOf(clockTicked).ddl)
  const insert = `INSERT INTO clock.ticked BY NAME SELECT 'id' AS ce_id, 's' AS ce_source, '2026-01-31T12:00:00.123Z' AS ce_time,
    'wall' AS ce_clock, [] AS ce_causes, 0 AS log_partition, 0 AS log_offset, 0 AS row, 't' AS tick, 'wall' AS clock, '2026-01-31T12:00:00.123Z' AS time`
  await connection.run(insert)
  await expect(connection.run(insert)).rejects.toThrow('Duplicate key "ce_id: id, row: 0"')
  const read = await connection.runAndReadAll(
    "SET TimeZone = 'UTC'; SELECT ce_time::VARCHAR, date_trunc('day', time)::VARCHAR FROM clock.ticked",
  )
  expect(read.getRows()).toEqual([['2026-01-31 12:00:00.123+00', '2026-01-31 00:00:00+00']])
})

test('nested types are spelled as DuckDB spells them', () => {
  const { maybe_struct, maybe_map, a_blob, flow_tensor } = everyTypeBatch.row
  expect([maybe_struct, maybe_map, a_blob, flow_tensor].map(duckdbTypeOf)).toEqual([
    'STRUCT("x" FLOAT, "names" VARCHAR[], "at" TIMESTAMPTZ)',
    'MAP(VARCHAR, BIGINT[])',
    'STRUCT("sha256" VARCHAR, "bytes" BIGINT, "media_type" VARCHAR)',
    'FLOAT[]',
  ])
})

test('a field cannot take the name of an envelope column', () => {
  const clash = defineEvent({ ...clockTicked, key: 'tick', row: { tick: utf8(), row: int32() } })
  expect(() => tableOf(clash)).toThrow('clock.ticked: field row has the name of an envelope column')
})
