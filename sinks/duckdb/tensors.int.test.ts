import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { memoryBlobs } from '../../infra/blobs/memory.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { defineEvent } from '../../schemas/declare/event.ts'
import { int32, nullable, tensor, utf8 } from '../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { tableOf } from '../../schemas/derive/duckdb-table.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { appendRaw } from '../../testing/counting.ts'
import { sqlRows } from '../../testing/sql-rows.ts'
import { example } from '../../testing/test-driver.ts'
import { openDuckDbSink } from './duckdb-sink.ts'
import { openSql } from './sql-client.ts'
import { verifyTables } from './verify-tables.ts'

const SHAPE = [64, 512]
const computed = defineEvent({
  type: 'test.flow_computed',
  version: 1,
  key: 'clip',
  encoding: 'arrow',
  retention: 'derived',
  about: 'flow fields',
  row: {
    clip: utf8(),
    frame: int32(),
    flow: tensor('float16', SHAPE, 'px/frame'),
    small: nullable(tensor('float16', [2])),
  },
})

const clip = (name: string) =>
  example(
    computed,
    [0, 1].map((frame) => ({
      clip: name,
      frame,
      flow: new Float16Array(64 * 512).fill(frame + 0.5),
      small: frame === 0 ? null : Float16Array.of(1.5, -2),
    })),
  )

test('a stored tensor is loaded as a reference with shape and statistics, its blob is never read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tensors-'))
  const file = join(folder, 'events.duckdb')
  const log = memoryLog()
  await log.createTopics(topicsOf([...catalogue, computed], [], 1))
  const encoded = encodeEvent(computed, clip('one'))
  expect(encoded.blobs).toHaveLength(1)
  await appendRaw(log, computed.type, 0, encoded)
  // The blob was not put: reading it would make the record unreadable.
  const blobs = memoryBlobs()
  const sink = await openDuckDbSink({ catalogue: [...catalogue, computed], views: [], file, log, blobs })
  try {
    expect(await sink.loadOnce()).toMatchObject({ rows: 2, records: 1 })
    const rows = await sqlRows({ file, time_limit_ms: 30_000 }, 'FROM test.flow_computed ORDER BY frame')
    const names = tableOf(computed).columns.map(({ name }) => name)
    const at = (name: string) => rows.map((row) => row[names.indexOf(name)])
    expect(at('flow')).toEqual([null, null])
    const { sha256, bytes } = encoded.blobs[0]?.ref ?? {}
    const column = { sha256, bytes: String(bytes), shape: SHAPE, numbers: '65536', min: 0.5, max: 1.5, mean: 1 }
    expect(at('flow_blob')).toEqual([
      { ...column, row: 0 },
      { ...column, row: 1 },
    ])
    expect([at('small'), at('small_blob')]).toEqual([
      [null, [1.5, -2]],
      [null, null],
    ])
    const session = await openSql({ file })
    const events = [computed]
    const shared = { log, blobs, vocabulary: catalogueOf(events), partitions: 1, events, views: [] }
    const report = await verifyTables({ session, ...shared }).finally(() => session.close())
    expect(report).toMatchObject({ rows: 2, differences: 0, found: [] })
  } finally {
    await sink.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
