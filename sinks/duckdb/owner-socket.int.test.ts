import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { createTopics } from '../../testing/duckdb/recorded-tower.ts'
import { openDuckDbSink } from './duckdb-sink.ts'
import { readOwner, writeOwner } from './owner-record.ts'
import { findOwner, socketOf } from './owner-socket.ts'
import { openSql } from './sql-client.ts'

let folder: string
let file: string
const log = memoryLog()
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'owner-'))
  file = join(folder, 'test.duckdb')
  await createTopics(log)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const open = (path = file) => openDuckDbSink({ file: path, log, catalogue, views })

async function via(path = file): Promise<string> {
  const session = await openSql({ file: path })
  await session.close()
  return session.via
}

test('a note is no owner, whichever process has its pid now: the next owner opens the file at once, and so does a query', async () => {
  await (await open()).close()
  // The note that a `kill -9` leaves behind, when its PID now belongs to another program: here, this test.
  writeOwner(file, { pid: process.pid, started_by: process.ppid, socket: socketOf(file) })
  expect(await findOwner(file)).toBeUndefined()
  expect(await via()).toBe('file')
  const next = await open()
  expect(await findOwner(file)).toMatchObject({ pid: process.pid, started_by: process.pid })
  await next.close()
})

test('an owner is found by its socket, without any note', async () => {
  const sink = await open()
  rmSync(`${file}.owner`)
  expect(await via()).toBe('owner')
  await sink.close()
})

test('a note that is damaged, or points to the owner of another file, is ignored', async () => {
  const other = join(folder, 'other.duckdb')
  await (await open()).close()
  const sink = await open(other)
  for (const text of ['', 'null', '3', '{"pid": "x"}', '{"pid": 1, "ended": null}', '{"pid": 1, "socket": 7}']) {
    writeFileSync(`${file}.owner`, text)
    expect(readOwner(file), text).toBeUndefined()
  }
  writeOwner(file, { pid: process.pid, socket: sink.socket ?? '' })
  expect(await findOwner(file)).toBeUndefined()
  expect([await via(), await via(other)]).toEqual(['file', 'owner'])
  await sink.close()
})

test('two files in one folder have an owner each', async () => {
  const other = join(folder, 'other.duckdb')
  const [one, two] = [await open(), await open(other)]
  expect([await via(), await via(other)]).toEqual(['owner', 'owner'])
  await one.close()
  expect(await via(other)).toBe('owner')
  await two.close()
  expect(existsSync(socketOf(other))).toBe(false)
})

test('the owner of a file that was deleted and recreated is not the owner of the new one', async () => {
  const sink = await open()
  rmSync(file)
  writeFileSync(file, '')
  expect(await findOwner(file)).toBeUndefined()
  await sink.close()
})
