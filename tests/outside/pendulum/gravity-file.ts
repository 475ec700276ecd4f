import { existsSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import type { Log, LogRecord, Position } from '../../../infra/log/port/log.ts'
import { encodeSeen, positionOf } from '../../../infra/log/port/seen.ts'
import type { DataOf, Event } from '../../../schemas/declare/event.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { decodeEvent, PoisonError } from '../../../schemas/wire/codec.ts'
import { ReadPositions } from '../../../sinks/read-positions.ts'
import { Retrying } from '../../../sinks/retrying.ts'
import type { LoadedOnce, Sink } from '../../../sinks/sink.ts'
import { wrongLog } from '../../../sinks/wrong-log.ts'
import { gravityInferred } from './pendulum-events.ts'

interface Stored {
  gravities: Record<string, number>
  /** Records that are no such event. */
  unreadable: number
  /** `[partition, next, seen]` */
  positions: [number, string, string | null][]
}

const TOPIC = gravityInferred.type
const known = catalogueOf([gravityInferred])

/** A sink of one's own: the gravity of each pendulum in a JSON file, replaced as a whole together with its positions. */
export async function openGravityFile(file: string, log: Log): Promise<Sink> {
  const stored: Stored = existsSync(file)
    ? JSON.parse(await readFile(file, 'utf8'))
    : { gravities: {}, unreadable: 0, positions: [] }
  const positions = new ReadPositions(log, async (misplaced) => {
    throw wrongLog(file, log, misplaced, `To restart: remove ${file}.`)
  })
  positions.reload(stored.positions.map(([partition, next, seen]) => positionOf(TOPIC, partition, BigInt(next), seen)))
  const retrying = new Retrying({ who: 'the gravity file', poll_ms: 20 })
  /** Undefined for a record that no retry makes readable. */
  function gravityIn(record: LogRecord): DataOf<typeof gravityInferred> | undefined {
    try {
      return (decodeEvent(record, known) as Event<typeof gravityInferred>).data
    } catch (error) {
      if (error instanceof PoisonError) return undefined
      throw error
    }
  }

  async function pass(): Promise<number> {
    await positions.compare('in full')
    const gravities = { ...stored.gravities }
    const moved: Position[] = []
    let { unreadable } = stored
    let read = 0
    const ends = (await positions.endsOf(positions.topics.has(TOPIC) ? [TOPIC] : [])).get(TOPIC) ?? []
    for (const partition of ends.keys()) {
      const before = positions.of(TOPIC, partition)
      const { records, next } = await log.read({ topic: TOPIC, partition, from: before.next, max_bytes: 1_000_000 })
      for (const found of records.map(gravityIn)) {
        if (found === undefined) unreadable++
        else gravities[found.pendulum_id] = found.gravity
      }
      if (next > before.next) moved.push(positions.after(before, next, records.at(-1)))
      read += records.length
    }
    if (moved.length === 0) return 0
    const all = positions.moved(moved).map(({ partition, next, seen }): Stored['positions'][number] => {
      return [partition, String(next), seen === undefined ? null : encodeSeen(seen)]
    })
    await writeFile(`${file}.new`, JSON.stringify({ gravities, unreadable, positions: all }))
    await rename(`${file}.new`, file)
    Object.assign(stored, { gravities, unreadable })
    for (const position of moved) positions.settle(position)
    return read
  }

  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = turn.then(work)
    turn = next.catch(() => {})
    return next
  }
  return {
    name: 'gravity-file',
    get health() {
      return { trouble: retrying.trouble, retries: retrying.retries, unreadable: { [TOPIC]: stored.unreadable } }
    },
    run: (signal) =>
      retrying.run(
        () => inTurn(pass),
        signal,
        () => false,
      ),
    loadOnce: () =>
      inTurn(async (): Promise<LoadedOnce> => {
        return { records: await pass(), caught_up: (await positions.lag([TOPIC])) === 0n }
      }),
    lag: () => inTurn(() => positions.lag([TOPIC])),
    unreadableText: (count) => `${count} records, which ${file} counts`,
    close: async () => void (await turn),
  }
}
