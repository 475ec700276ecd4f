import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { memoryLog } from '../../../infra/log/memory/memory-log.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { append, createTopics } from '../../../testing/duckdb/recorded-tower.ts'
import { openDuckDbSink } from '../duckdb-sink.ts'

/** Design §10, for the rewards [20, 0, 0, −5]. */
const GOLDEN = {
  paper: [1.46571, -0.33824, -0.33824, -0.78923],
  paper_ddof0: [1.69246, -0.39057, -0.39057, -0.91132],
  trl: [1.4657, -0.33824, -0.33824, -0.78922],
  trl_async: [1.69246, -0.39057, -0.39057, -0.91132],
  verl: [1.46571, -0.33824, -0.33824, -0.78923],
  openrlhf: [1.46571, -0.33824, -0.33824, -0.78923],
  pipelinerl: [1.95426, -0.45098, -0.45098, -1.05229],
  nemo_rl: [7.50555, -0.37796, -0.37796, -1.01036],
  prime_rl: [16.25, -3.75, -3.75, -8.75],
}
const DIALECTS = Object.keys(GOLDEN)

test('every dialect of design §10, next to each other, and 0 where a group does not vary', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'advantages-'))
  const log = memoryLog()
  await createTopics(log)
  await append(log, (story) =>
    story.formed('g', [20, 0, 0, -5]).formed('flat', [0.1, 0.1, 0.1]).formed('one', [5]).formed('lone', [3, 0, 0]),
  )
  const sink = await openDuckDbSink({ file: join(folder, 'test.duckdb'), log, catalogue, views, serve: false })
  try {
    await sink.loadOnce()
    const connection = await sink.connect()
    const columns = async (group: string) =>
      (
        await connection.runAndReadAll(
          `SELECT ${DIALECTS} FROM advantages WHERE group_id = '${group}' ORDER BY completion_index`,
        )
      ).getColumnsObjectJson()
    const rounded = Object.fromEntries(
      Object.entries(await columns('g')).map(([dialect, values]) => [
        dialect,
        values.map((value) => Number((value as number).toFixed(5))),
      ]),
    )
    expect(rounded).toEqual(GOLDEN)
    for (const values of Object.values(await columns('flat'))) expect(values).toEqual([0, 0, 0])
    for (const values of Object.values(await columns('one'))) expect(values).toEqual([0])
    expect((await columns('lone')).nemo_rl?.[0]).toBe(3) // the others have no variance: the plain difference
    connection.disconnectSync()
  } finally {
    await sink.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
