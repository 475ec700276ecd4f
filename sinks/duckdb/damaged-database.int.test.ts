import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MemoryLog, memoryLog } from '../../infra/log/memory/memory-log.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { append, createTopics } from '../../testing/duckdb/recorded-tower.ts'
import { damageIn } from './damaged-database.ts'
import { openDatabase } from './database.ts'
import { DatabaseDamagedError } from './database-errors.ts'
import { openDuckDbSink } from './duckdb-sink.ts'
import { openSql } from './sql-client.ts'

const HEADERS_BYTES = 3 * 4096
const BLOCK_BYTES = 256 * 1024

let log: MemoryLog
let whole: Buffer
/** Blocks of the catalogue, which are read when the file is opened. */
let catalogue_blocks: ReadonlySet<number>
let folder: string
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'damaged-'))
  log = memoryLog()
  await createTopics(log)
  await append(log, (story) => {
    for (let group = 0; group < 20; group++) {
      story.requested(`g${group}`, 3)
      story.sampled(`g${group}`, [0, 1, 2])
      story.scored(`g${group}`, [20, 0, -5])
    }
  })
  const file = join(folder, 'whole.duckdb')
  const sink = await openDuckDbSink({ file, log, catalogue, views, serve: false })
  await sink.loadOnce()
  await sink.close()
  whole = await readFile(file)
  catalogue_blocks = await catalogueBlocks(file)
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

async function fileOf(bytes: Uint8Array): Promise<string> {
  const file = join(folder, `damaged-${count++}.duckdb`)
  await writeFile(file, bytes)
  return file
}

const flipped = (...places: readonly number[]): Buffer => {
  const bytes = Buffer.from(whole)
  for (const at of places) bytes[at] = (bytes[at] as number) ^ 16
  return bytes
}

async function catalogueBlocks(file: string): Promise<ReadonlySet<number>> {
  const instance = await DuckDBInstance.create(file, { access_mode: 'READ_ONLY' })
  try {
    const connection = await instance.connect()
    const read = await connection.runAndReadAll('SELECT block_id::INTEGER FROM pragma_metadata_info()')
    return new Set(read.getRows().map(([block]) => Number(block)))
  } finally {
    instance.closeSync()
  }
}

/** Flips one bit of every block of rows. The damage shows when such a block is read. */
const flippedBlocks = (): Buffer => {
  const places = []
  for (let block = 0, at = HEADERS_BYTES; at < whole.length; block++, at += BLOCK_BYTES) {
    if (!catalogue_blocks.has(block)) places.push(at + 5_000)
  }
  return flipped(...places)
}

/** Expects the file, the finding and the remedy. */
const inWords = (file: string) => (error: unknown) => {
  const { message } = error as Error
  expect(message).toContain(`${file}: expected a whole DuckDB file that this release can read, found: `)
  expect(message).toContain(`remove it and ${file}.wal, and start plumbline run`)
  return true
}

describe('a file that cannot be opened is named with what is wrong and the remedy:', () => {
  test.each([
    ['an empty file', () => Buffer.alloc(0)],
    ['a text', () => Buffer.from('not a database\n'.repeat(10_000))],
    ['a few bytes', () => Buffer.from('abc')],
    ['a flipped header', () => flipped(9)],
    [
      'a header of another page',
      () =>
        Buffer.concat([
          whole.subarray(0, 4096),
          whole.subarray(HEADERS_BYTES, HEADERS_BYTES + 4096),
          whole.subarray(8192),
        ]),
    ],
    ['a flipped root', () => flipped(4096 + 20, 8192 + 20)],
    ['headers alone', () => whole.subarray(0, HEADERS_BYTES)],
    ['half a header', () => whole.subarray(0, 4096)],
    ['a zeroed first block', () => Buffer.from(whole).fill(0, HEADERS_BYTES, HEADERS_BYTES + BLOCK_BYTES)],
  ])('%s', async (_what, bytes) => {
    const file = await fileOf(bytes())
    for (const access of ['owner', 'read_only'] as const) {
      const opened = openDatabase({ file, access })
      await expect(opened).rejects.toBeInstanceOf(DatabaseDamagedError)
      await expect(opened).rejects.toSatisfy(inWords(file))
    }
    await expect(openDuckDbSink({ file, log, catalogue, views, serve: false })).rejects.toSatisfy(inWords(file))
    await expect(openSql({ file })).rejects.toSatisfy(inWords(file))
  })

  test('a folder', async () => {
    const file = join(folder, 'folder.duckdb')
    await mkdir(file)
    for (const access of ['owner', 'read_only'] as const)
      await expect(openDatabase({ file, access })).rejects.toSatisfy(inWords(file))
  })

  test('a file of a newer DuckDB', () => {
    const says =
      'IO Error: Trying to read a database file with version number 999, but we can only read versions 64 to 67.'
    expect(damageIn(new Error(says), '/data/a.duckdb')).toSatisfy(inWords('/data/a.duckdb'))
  })
})

test('damage that a query meets is reported to its client, and other queries are answered', async () => {
  const file = await fileOf(flippedBlocks())
  const session = await openSql({ file })
  const ask = async (sql: string) => {
    for await (const _ of (await session.query(sql)).batches);
  }
  await expect(ask('select max(text) from policy.completions_sampled')).rejects.toSatisfy(inWords(file))
  await ask('select 1')
  await session.close()
})

test('damage that loading meets ends it with a message; a file that is removed is rebuilt', async () => {
  const file = await fileOf(flippedBlocks())
  const loading = async () => {
    const sink = await openDuckDbSink({ file, log, catalogue, views, serve: false })
    try {
      await sink.run(AbortSignal.timeout(20_000))
    } finally {
      await sink.close()
    }
  }
  await append(log, (story) => story.requested('more', 3))
  await expect(loading()).rejects.toSatisfy(inWords(file))
  await rm(file)
  await rm(`${file}.wal`, { force: true })
  const sink = await openDuckDbSink({ file, log, catalogue, views, serve: false })
  expect(await sink.loadOnce()).toMatchObject({ caught_up: true })
  await sink.close()
})

test('damage that the replay of the write-ahead log meets is named', async () => {
  const sound = join(folder, 'sound.duckdb')
  await writeFile(sound, whole)
  await append(log, (story) => story.requested('replayed', 3))
  const sink = await openDuckDbSink({ file: sound, log, catalogue, views, serve: false })
  await sink.loadOnce()
  const wal = await readFile(`${sound}.wal`)
  await sink.close()
  // The replay reads the last blocks of the tables that it changes.
  const file = await fileOf(flippedBlocks())
  await writeFile(`${file}.wal`, wal)
  for (const access of ['owner', 'read_only'] as const) {
    await expect(openDatabase({ file, access })).rejects.toSatisfy(inWords(file))
  }
})

test.each([
  'TransactionContext Error: Failure while replaying WAL file "a.duckdb.wal": Failed to commit: Could not read enough bytes from file "a.duckdb": attempted to read 262144 bytes from location 3158016',
  'TransactionContext Error: Failed to commit: Corrupt database file: computed checksum 5381 does not match stored checksum 0 in block at location 3158016',
  'Failed to append: Corrupt database file: computed checksum 1 does not match stored checksum 0 in block at location 2109440',
  'FATAL Error: Failed to rollback transaction. Cannot continue operation.\nOriginal Error: IO Error: Corrupt database file: computed checksum 2 does not match stored checksum 1 in block at location 3420160',
  'INTERNAL Error: Bitpacking offset is out of range at block "3" - corrupt database file\n\nStack Trace:\n',
  'IO Error: Corrupted RLE segment: rle_count_offset exceeds the block size.',
])('damage is named whatever DuckDB was doing: %s', (says) => {
  const error = damageIn(new Error(says), 'a.duckdb')
  expect(error).toSatisfy(inWords('a.duckdb'))
  expect(error?.message).toMatch(/found: .*(corrupt|Could not read enough bytes from file)/i)
})

test('a query’s own message about damage is not taken for damage', () => {
  for (const text of [
    'Invalid Input Error: Corrupt database file',
    'Out of Memory Error: Corrupt',
    'Corrupt database file',
    'Binder Error: Failed to append: Corrupt database file',
  ])
    expect(damageIn(new Error(text), 'a.duckdb')).toBeUndefined()
})
