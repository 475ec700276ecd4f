import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Position } from '../infra/log/port/log.ts'
import { positionOf } from '../infra/log/port/seen.ts'
import type { SinkName } from '../streams/domain.ts'
import { askRows } from './ask-rows.ts'
import { duckdbFile } from './data-folder.ts'
import { UsageError } from './usage-error.ts'

/** Where the positions of sinks are. */
export interface SinkPlaces {
  readonly data: string
  /** The folder of the JSON Lines sink, which no data folder records. */
  readonly jsonl?: string | undefined
}

export interface SinkPositions {
  readonly name: SinkName
  readonly positions: readonly Position[]
  /** How to begin anew. */
  readonly remedy: string
}

/** The positions of every sink that has stored some. @throws UsageError when `jsonl` is no folder of that sink */
export async function positionsOfSinks({ data, jsonl }: SinkPlaces): Promise<SinkPositions[]> {
  const found: SinkPositions[] = []
  const loaded = await tablePositions(data)
  if (loaded !== undefined) {
    found.push({ name: 'duckdb', positions: loaded, remedy: `delete ${duckdbFile(resolve(data))}` })
  }
  if (jsonl === undefined) return found
  const { makeAgain, readStored } = await import('../sinks/jsonl/positions-file.ts')
  const stored = await readStored(resolve(jsonl))
  if (stored === undefined)
    throw new UsageError(`--jsonl ${jsonl}: no JSON Lines sink has written there`, 'name the folder of run --jsonl')
  return [...found, { name: 'jsonl', positions: stored.positions, remedy: makeAgain(resolve(jsonl)) }]
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
