import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Position } from '../infra/log/port/log.ts'
import { positionOf } from '../infra/log/port/seen.ts'
import { SINK_KINDS } from '../sinks/kinds.ts'
import type { SinkKind } from '../sinks/sink-kind.ts'
import { startAgain } from '../sinks/sink-place.ts'
import { askRows } from './ask-rows.ts'
import { duckdbFile } from './data-folder.ts'
import type { SinkPlaces } from './sinks.ts'
import { UsageError } from './usage-error.ts'

/** Where the sinks of a data folder store their positions, and the rest. */
export interface PositionPlaces {
  readonly data: string
  /** Of the other sinks, which no data folder records. */
  readonly places: SinkPlaces
}

export interface SinkPositions {
  readonly name: string
  readonly positions: readonly Position[]
  /** How to start over. */
  readonly remedy: string
}

/** The positions of every sink that has stored some. @throws UsageError when one of `places` is none of that sink */
export async function positionsOfSinks({ data, places }: PositionPlaces): Promise<SinkPositions[]> {
  const found: SinkPositions[] = []
  const loaded = await tablePositions(data)
  if (loaded !== undefined) {
    found.push({ name: 'duckdb', positions: loaded, remedy: `delete ${duckdbFile(resolve(data))}` })
  }
  for (const kind of SINK_KINDS) {
    const { name } = kind
    const place = places[name]
    if (place === undefined) continue
    found.push({ name, positions: await expectSink(kind, place), remedy: startAgain(name, resolve(place)) })
  }
  return found
}

/** @returns the positions of the sink that writes to a place @throws UsageError when none does */
export async function expectSink({ name, positions }: SinkKind, place: string): Promise<readonly Position[]> {
  const found = await positions(resolve(place))
  if (found !== undefined) return found
  throw new UsageError(`--${name} ${place}: no such sink has written there`, `name the place of run --${name}`)
}

/** The positions that the DuckDB sink's file records; undefined if there is no file. */
async function tablePositions(data: string): Promise<Position[] | undefined> {
  const file = duckdbFile(resolve(data))
  if (!existsSync(file)) return undefined
  const positions: Position[] = []
  // Select all columns by `FROM`: a file of an earlier release has no `seen`.
  for await (const { topic, partition, next, seen } of askRows(file, 'FROM internal.positions')) {
    const text = typeof seen === 'string' ? seen : undefined
    positions.push(positionOf(String(topic), Number(partition), BigInt(String(next)), text))
  }
  return positions
}
