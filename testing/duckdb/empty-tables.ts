import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { openDuckDbSink } from '../../sinks/duckdb/duckdb-sink.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { createTopics } from './recorded-tower.ts'

/**
 * Writes a new file that has the tables and views of the program, all empty, as the sink makes them: a copy of one that
 * is made once in a process, because every view and comment is a statement of its own.
 *
 * @returns its path
 */
export async function emptyTables(file: string): Promise<string> {
  made ??= make()
  await writeFile(file, await made, { flag: 'wx' })
  return file
}

let made: Promise<Buffer> | undefined

async function make(): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'plumbline-test-'))
  try {
    const file = join(folder, 'empty.duckdb')
    const log = memoryLog()
    await createTopics(log)
    await (await openDuckDbSink({ file, log, catalogue, views, serve: false })).close()
    return await readFile(file)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
