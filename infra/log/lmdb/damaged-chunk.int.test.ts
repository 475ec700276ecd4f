import { expect, test } from 'vitest'
import { Processes } from '../../../testing/lmdb/processes.ts'
import { append, numbered, values } from '../conformance/steps.ts'
import { type Log, RecordDamagedError } from '../port/log.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { chunkKey, openTables, type Tables } from './tables.ts'

/** A log of three chunks of four records each in partition 1, after `damage` has changed its tables. */
async function damagedLog(dir: string, damage: (tables: Tables) => void): Promise<Log> {
  const log = await openLmdbLog({ dir })
  await log.createTopics([{ name: 't', partitions: 2 }])
  for (const part of ['a', 'b', 'c']) await append(log, 't', 1, numbered(4, part))
  await log.close()
  const tables = openTables(dir, false, 'flushed')
  tables.env.transactionSync(() => damage(tables))
  await tables.env.close()
  return openLmdbLog({ dir })
}

const at = (offset: number) => chunkKey(1, 1, offset)

function flip({ chunks }: Tables, offset: number, byte: number): void {
  const bytes = Buffer.from(chunks.getBinary(at(offset)) as Buffer)
  bytes[byte] = (bytes[byte] as number) ^ 4
  chunks.putSync(at(offset), bytes)
}

const DAMAGES: readonly [what: string, damage: (tables: Tables) => void][] = [
  ['a changed byte in a value', (tables) => flip(tables, 4, 70)],
  ['a changed version', (tables) => flip(tables, 4, 0)],
  ['a changed count of records', (tables) => flip(tables, 4, 4)],
  ['a missing chunk', ({ chunks }) => void chunks.removeSync(at(4))],
  ['an empty chunk', ({ chunks }) => void chunks.putSync(at(4), Buffer.alloc(0))],
  ['a zeroed chunk', ({ chunks }) => void chunks.putSync(at(4), Buffer.alloc(300))],
  ['another place’s chunk', ({ chunks }) => void chunks.putSync(at(4), chunks.getBinary(at(8)) as Buffer)],
]

test.each(DAMAGES)(
  '%s: the records before it are read, then an error names it, and reading continues after it',
  async (_, damage) => {
    await using processes = new Processes()
    const log = await damagedLog(processes.dir, damage)
    const read = (from: bigint) => log.read({ topic: 't', partition: 1, from, max_bytes: 1e6 })
    const before = await read(0n)
    expect(before.records.map(({ offset }) => offset)).toEqual([0n, 1n, 2n, 3n])
    expect(before.next).toBe(4n)
    const failure = await read(4n).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(RecordDamagedError)
    expect(failure).toMatchObject({ retry: 'never', damage: { topic: 't', partition: 1, from: 4n, to: 8n } })
    expect(String(failure)).toMatch(/topic t partition 1: the records at offsets 4 … 7 cannot be read/)
    expect((failure as RecordDamagedError).remedy).toMatch(/put a backup in its place; .*plumbline verify/)
    await expect(read(6n)).rejects.toMatchObject({ damage: { from: 6n, to: 8n } })
    expect((await read(8n)).records.map(({ offset }) => offset)).toEqual([8n, 9n, 10n, 11n])
    const { damaged, ...counts } = await (log.integrity as () => ReturnType<NonNullable<Log['integrity']>>)()
    expect(damaged).toMatchObject([{ topic: 't', partition: 1, from: 4n, to: 8n }])
    expect(counts).toEqual({ checksummed: 8, unchecksummed: 0, lost: [] })
    await log.close()
  },
)

test('a member’s poll stops at a damaged chunk, delivers the records before it, and continues where the member seeks to', async () => {
  await using processes = new Processes()
  const log = await damagedLog(processes.dir, (tables) => flip(tables, 4, 70))
  const member = await log.join({ group: 'g', topics: ['t'], session_timeout_ms: 10_000 })
  const poll = () => member.poll({ max_bytes: 1e6, wait_ms: 0 })
  await poll()
  expect((await poll()).records.map(({ offset }) => offset)).toEqual([0n, 1n, 2n, 3n])
  await expect(poll()).rejects.toMatchObject({ name: 'RecordDamagedError', damage: { from: 4n, to: 8n } })
  await expect(poll()).rejects.toMatchObject({ name: 'RecordDamagedError', damage: { from: 4n, to: 8n } })
  member.seek([{ topic: 't', partition: 1, next: 8n }])
  expect((await poll()).records.map(({ offset }) => offset)).toEqual([8n, 9n, 10n, 11n])
  await log.close()
})

test('chunks beyond the end in the catalog are reported: the catalog entry must be damaged', async () => {
  await using processes = new Processes()
  const log = await damagedLog(processes.dir, ({ catalog }) => {
    const row = catalog.get(['topic', 't']) as { ends: number[] }
    void catalog.putSync(['topic', 't'], { ...row, ends: [0, 8] })
  })
  expect((await log.integrity?.())?.damaged).toMatchObject([{ partition: 1, from: 8n, to: 9n }])
  await log.close()
})

test('records that a repair could not copy are skipped by readers and named by the integrity check', async () => {
  await using processes = new Processes()
  const log = await damagedLog(processes.dir, ({ chunks, catalog }) => {
    void chunks.removeSync(at(4))
    void catalog.putSync(['lost', 't', 1], [[4, 8]])
  })
  expect(await values(log, 't', 1)).toEqual([...numbered(4, 'a'), ...numbered(4, 'c')])
  expect(await log.integrity?.()).toMatchObject({
    checksummed: 8,
    damaged: [],
    lost: [{ topic: 't', partition: 1, from: 4n, to: 8n }],
  })
  await log.close()
})

test('deleting old records leaves no damaged chunk behind', async () => {
  await using processes = new Processes()
  const log = await damagedLog(processes.dir, (tables) => flip(tables, 4, 4))
  await log.deleteBefore('t', 1, 8n)
  await log.close()
  const { env, chunks } = openTables(processes.dir, true, 'flushed')
  expect([...chunks.getKeys()].map((key) => key.toString('hex'))).toEqual([at(8).toString('hex')])
  await env.close()
})
