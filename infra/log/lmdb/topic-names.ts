import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { logId, type Tables, topicRows } from './tables.ts'

/** What never changes about the topics of a log: a second copy, in a file next to the one that LMDB writes. */
export interface TopicNames {
  readonly log_id: string
  readonly topics: readonly { readonly id: number; readonly name: string; readonly partitions: number }[]
}

const FILE = 'topics.json'
const ABOUT = 'names of the topics in data.mdb: repair reads them when that file is damaged'

/**
 * Writes the copy if it differs from the catalog. LMDB rewrites an entry of its catalog with every commit, so that the
 * only copies of a name may lie next to each other at the end of the file.
 *
 * Call it in a write transaction, so that two processes do not overwrite each other's; if that is aborted, the copy
 * names topics that are not there, which repair notices.
 *
 * A folder that refuses the copy keeps its log: the log itself says what is wrong with the folder.
 */
export function writeTopicNames(dir: string, tables: Tables): void {
  const topics = [...topicRows(tables)].map(({ name, row }) => ({ id: row.id, name, partitions: row.ends.length }))
  const names: TopicNames = { log_id: logId(tables), topics }
  if (JSON.stringify(readTopicNames(dir)) === JSON.stringify(names)) return
  const unfinished = join(dir, `${FILE}.${process.pid}`)
  try {
    writeFileSync(unfinished, `${JSON.stringify({ about: ABOUT, ...names }, undefined, 1)}\n`, { flush: true })
    renameSync(unfinished, join(dir, FILE))
  } catch {
    rmSync(unfinished, { force: true })
  }
}

/** Undefined when the folder has none that can be read: an earlier release wrote none. */
export function readTopicNames(dir: string): TopicNames | undefined {
  try {
    const { log_id, topics } = JSON.parse(readFileSync(join(dir, FILE), 'utf8')) as TopicNames
    const is_sound = typeof log_id === 'string' && Array.isArray(topics) && topics.every(isTopic)
    return is_sound ? { log_id, topics } : undefined
  } catch {
    return undefined
  }
}

function isTopic(it: unknown): boolean {
  const { id, name, partitions } = (it ?? {}) as Partial<TopicNames['topics'][number]>
  return (
    typeof name === 'string' && Number.isSafeInteger(id) && Number.isSafeInteger(partitions) && Number(partitions) > 0
  )
}
