import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Position } from '../infra/log/log.ts'
import { positionOf } from '../infra/log/seen.ts'
import { duckdbFile } from './data-folder.ts'
import { askRows } from './report/ask-rows.ts'

/** The positions that the DuckDB sink's file records; undefined if there is no file. */
export async function sinkPositions(data: string): Promise<Position[] | undefined> {
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
