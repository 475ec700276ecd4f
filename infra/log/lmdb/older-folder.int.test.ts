import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openLmdbLog } from './lmdb-log.ts'
import { chunkKey, FORMAT, openTables } from './tables.ts'

/** Three records written by the release before format 2. */
const CHUNK_OF_VERSION_1 = Buffer.from(
  'AQAAAAMAAAAAsIdW/rx4Qi8AAAAAAgARAAAAAgAAAAUAAAABAAAABwAAAAEAAABrMWNlX2lkYWNlX25vdGXDqQECAwsAAAAHAAAAAAAAAAAAABsA' +
    'AAAEAQAIAAAAAgAAAAUAAAABAAAAazNjZV9pZGI=',
  'base64',
)

async function folderOfFormat1(dir: string): Promise<void> {
  const { env, catalog, chunks } = openTables(dir, false, 'flushed')
  env.transactionSync(() => {
    catalog.putSync(['format'], 1)
    catalog.putSync(['topics'], 1)
    catalog.putSync(['topic', 't'], { id: 1, begins: [0], ends: [3] })
    catalog.putSync(['position', 'group', 't', 0], 2)
    chunks.putSync(chunkKey(1, 0, 0), CHUNK_OF_VERSION_1)
  })
  await env.close()
}

async function read(dir: string) {
  const log = await openLmdbLog({ dir, access: 'read' })
  const { records } = await log.read({ topic: 't', partition: 0, from: 0n, max_bytes: 1e9 })
  await log.close()
  return records.map(({ key, offset }) => `${offset} ${key}`)
}

const formatOf = async (dir: string) => {
  const { env, catalog } = openTables(dir, true, 'flushed')
  const format = catalog.get(['format'])
  await env.close()
  return format
}

test('a folder of format 1 is read as it is, and upgraded to the newest format when it is first opened for writing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-log-'))
  try {
    await folderOfFormat1(dir)
    const before = ['0 k1', '1 null', '2 k3']
    expect(await read(dir)).toEqual(before)
    expect(await formatOf(dir)).toBe(1)

    const log = await openLmdbLog({ dir })
    const transaction = (await log.producer({ transactional_id: 'p' })).begin()
    transaction.append('t', 0, { key: 'k4', headers: [], value: null })
    await transaction.commit()
    await log.close()
    expect(await read(dir)).toEqual([...before, '3 k4'])
    expect(await formatOf(dir)).toBe(FORMAT)
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('positions of an earlier format are returned as they are, and a log without an id gets one when it is opened for writing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-log-'))
  try {
    await folderOfFormat1(dir)
    const old = await openLmdbLog({ dir, access: 'read' })
    expect(await old.topics()).toEqual([{ name: 't', partitions: 1, id: '' }])
    expect(await old.committed('group')).toEqual([{ topic: 't', partition: 0, next: 2n }])
    await old.close()

    const log = await openLmdbLog({ dir })
    const [topic] = await log.topics()
    expect(topic?.id).toMatch(/^[0-9a-f-]{36}\.1$/)
    expect(await log.committed('group')).toEqual([{ topic: 't', partition: 0, next: 2n }])
    const member = await log.join({ group: 'group', topics: ['t'], session_timeout_ms: 10_000 })
    await member.poll({ max_bytes: 1e6, wait_ms: 0 })
    const { positions, claim } = await member.poll({ max_bytes: 1e6, wait_ms: 0 })
    expect(positions).toMatchObject([{ topic: 't', next: 3n, seen: { topic_id: topic?.id, last: { offset: 2n } } }])
    const transaction = (await log.producer({ transactional_id: 'p' })).begin()
    transaction.positions(claim, positions)
    await transaction.commit()
    await log.close()
    const again = await openLmdbLog({ dir, access: 'read' })
    expect(await again.topics()).toEqual([topic])
    expect(await again.committed('group')).toEqual(positions)
    await again.close()
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('the buffers of committed transactions are reused without changing what is in the log', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-log-'))
  try {
    const log = await openLmdbLog({ dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    const producer = await log.producer({ transactional_id: 'p' })
    const bytes = 20_000
    for (let turn = 0; turn < 6; turn++) {
      const transaction = producer.begin()
      for (let k = 0; k < 60; k++) {
        transaction.append('t', 0, { key: `${turn}`, headers: [], value: Buffer.alloc(bytes, turn * 60 + k) })
      }
      await transaction.commit()
    }
    const { records } = await log.read({ topic: 't', partition: 0, from: 0n, max_bytes: 1e9 })
    expect(records.length).toBe(360)
    for (const [i, { key, value }] of records.entries()) {
      expect(key).toBe(`${Math.floor(i / 60)}`)
      expect(Buffer.alloc(bytes, i).equals(value as Uint8Array)).toBe(true)
    }
    await log.close()
  } finally {
    rmSync(dir, { recursive: true })
  }
})
