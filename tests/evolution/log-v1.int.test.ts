import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { generate } from '../../cli/generate.ts'
import { verifyFolder } from '../../cli/verify.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import { openSql } from '../../sinks/duckdb/sql-client.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { readLogFile } from '../../testing/log-file.ts'
import { runUntilIdle } from '../../testing/run-until-idle.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'

/**
 * Written by `generate tower --dataset side_block --task x_y --scenes 4 --seed 1 --group-size 2` and
 * `run --until-idle --policy "noisy-oracle(100)"` when rollout.requested and form-groups' state were both v1.
 */
const RECORDED = fileURLToPath(new URL('./log-v1.jsonl', import.meta.url))

test('a log that was recorded with rollout.requested v1 is verified, queried and continued by this version', async () => {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  const wiring = await topology({ ...DEFAULTS, policy: 'noisy-oracle(100)' })
  await readLogFile(folder.log, RECORDED)
  await prepareLog(folder, wiring)
  expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)

  const scenes = {
    dataset: 'side_block',
    task: 'x_y',
    split: 'train',
    variant: 'plain',
    purpose: 'train',
    round: 1,
  } as const
  const signal = new AbortController().signal
  await generate(folder, { ...scenes, scenes: 2, seed: '1', group_size: 2 }, true, signal)
  await runUntilIdle(folder, wiring)
  expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)
  await folder.close()

  const session = await openSql({ file: folder.duckdb_file })
  const { batches } = await session.query(
    'select count(*), count(distinct group_id), min(deadline.clock) from rollout.requested',
  )
  for await (const rows of batches) expect(rows).toEqual([['6', '6', 'virtual']])
  session.close()
})
