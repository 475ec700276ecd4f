import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { append, numbered } from '../infra/log/conformance/steps.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { Repaired } from '../infra/log/lmdb/repair.ts'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import { digestOf, seenAfter } from '../infra/log/port/seen.ts'

/** A log to be damaged, and its records and positions, with which the remains are compared. */
export interface SoundLog {
  readonly bytes: Buffer
  readonly lock_word: Buffer
  /** By topic/partition/offset. */
  readonly records: ReadonlyMap<string, string>
  readonly positions: ReadonlyMap<string, string>
}

export const PAGE = 4096
const TOPICS = ['small', 'large', '_journal.reader', 'empty']
export const GROUP = 'reader'
/** Whether a group resumes from its journal, as a worker's group does. */
export const resumes = (group: string, topics: ReadonlySet<string>) => topics.has(`_journal.${group}`)

/** Writes small records, in pages of the trees, large ones, in pages of their own, and a reader's positions. */
export async function soundLog(dir: string): Promise<SoundLog> {
  const log = await openLmdbLog({ dir, durability: 'survives_kill_only' })
  try {
    await log.createTopics(TOPICS.map((name) => ({ name, partitions: 2 })))
    for (let i = 0; i < 24; i++) {
      await append(log, 'small', i % 2, numbered(1 + (i % 4), `small ${i}-`))
      await append(log, 'large', i % 2, [...numbered(10, `large ${i}-`), 'x'.repeat(9_000)])
      await append(log, '_journal.reader', i % 2, [`entry ${i}`])
      await move(log, i % 2)
    }
    const records = await recordsIn(log)
    const positions = await positionsIn(log)
    const read = (name: string) => readFileSync(join(dir, name))
    return { bytes: read('data.mdb'), lock_word: read('lock-word.json'), records, positions }
  } finally {
    await log.close()
  }
}

/** Moves the reader's positions to the end of this partition in every topic. */
async function move(log: Log, partition: number): Promise<void> {
  const producer = await log.producer({ transactional_id: GROUP })
  const transaction = producer.begin()
  const positions = []
  for (const { name: topic, id } of (await log.topics()).filter(({ name }) => name !== 'empty')) {
    const next = (await log.endOffsets(topic))[partition] as bigint
    if (next === 0n) continue
    const { records } = await log.read({ topic, partition, from: next - 1n, max_bytes: 1 })
    positions.push({ topic, partition, next, seen: seenAfter({}, id, records[0]) })
  }
  transaction.standalonePositions(GROUP, positions)
  await transaction.commit()
  await producer.close()
}

/** Digests of all records, by place. @throws the errors of reading */
export async function recordsIn(log: Log): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const { name: topic, partitions } of await log.topics()) {
    const [begins, ends] = [await log.beginningOffsets(topic), await log.endOffsets(topic)]
    for (let partition = 0; partition < partitions; partition++) {
      for (let from = begins[partition] as bigint; from < (ends[partition] as bigint); ) {
        const { records, next } = await log.read({ topic, partition, from, max_bytes: 1 << 20 })
        for (const record of records) found.set(placeOf(record), `${digestOf(record)} ${record.appended_ms}`)
        if (next <= from) throw new Error(`${topic} partition ${partition}: reading stands still at ${from}`)
        from = next
      }
    }
  }
  return found
}

const placeOf = ({ topic, partition, offset }: LogRecord) => `${topic}/${partition}/${offset}`

export async function positionsIn(log: Log): Promise<Map<string, string>> {
  const text = (value: unknown) => JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each))
  const positions = await log.committed(GROUP)
  return new Map(positions.map(({ topic, partition, ...rest }) => [`${topic}/${partition}`, text(rest)]))
}

/**
 * Checks a repair: every record and position in the new folder must be as it was written, at its place, and every
 * missing record must be reported.
 *
 * @throws Error naming what broke
 */
export async function checkRepaired(sound: SoundLog, dir: string, repaired: Repaired): Promise<'whole' | 'in part'> {
  const log = await openLmdbLog({ dir })
  try {
    const records = await recordsIn(log)
    for (const [place, digest] of records) {
      const named = TOPICS.some((topic) => place.startsWith(`${topic}/`))
      // Topic names have no checksum. The command lists topics that are unknown to this release.
      if (named && sound.records.get(place) !== digest) throw new Error(`${place}: another record than was written`)
    }
    const told = repaired.problems.join('\n')
    const uncounted = /^of the ends of (.*) an older copy was used/m.exec(told)?.[1]?.split(', ') ?? []
    for (const place of sound.records.keys()) {
      if (records.has(place)) continue
      const [topic, partition, offset] = place.split('/') as [string, string, string]
      const is_lost = repaired.lost.some(
        (lost) =>
          lost.topic === topic &&
          String(lost.partition) === partition &&
          lost.from <= BigInt(offset) &&
          BigInt(offset) < lost.to,
      )
      if (is_lost || uncounted.includes(topic) || told.includes(`${topic} partition ${partition} begins at`)) continue
      if (repaired.topics.some(({ name }) => name === topic)) throw new Error(`${place}: not there, and not named`)
    }
    const lost_topics = TOPICS.filter((topic) => !repaired.topics.some(({ name }) => name === topic))
    const unnamed = lost_topics.filter((topic) => topic !== 'empty')
    const renamed = repaired.topics.some(({ name }) => !TOPICS.includes(name))
    if (unnamed.length > 0 && repaired.nameless === 0 && !renamed) throw new Error(`${unnamed}: not there, not named`)
    const positions = await positionsIn(log)
    for (const [place, text] of positions) {
      if (sound.positions.get(place) !== text) throw new Error(`position ${place}: ${text}, not as it was`)
    }
    return records.size === sound.records.size && positions.size === sound.positions.size ? 'whole' : 'in part'
  } finally {
    await log.close()
  }
}

/** Numbers of the pages where damage matters most: meta pages and pages of the trees. */
export function hotPages({ bytes }: SoundLog): readonly number[] {
  const pages = Array.from({ length: bytes.byteLength / PAGE }, (_, at) => at)
  return [0, 1, ...pages.filter((at) => [1, 2].includes(kindOf(bytes, at)))]
}

const kindOf = (bytes: Buffer, page: number) => bytes.readUInt16LE(page * PAGE + 18)
