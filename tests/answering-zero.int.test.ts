import { expect, test } from 'vitest'
import { generate } from '../cli/generate.ts'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { runPipeline } from '../pipeline/run-pipeline.ts'
import { prepareLog } from '../pipeline/wiring.ts'
import { openDuckDbSink } from '../sinks/duckdb/duckdb-sink.ts'
import { openSql } from '../sinks/duckdb/sql-client.ts'
import { DEFAULTS, topology } from '../streams/topology.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'

/** §3.4 recomputed in SQL from positions alone: the best place is x = 0, on top of the tower of height − 1 cubes. */
const RECOMPUTED = `
  with placed as (
    select scored.*, case scored.task
        when 'x_only' then abs(scored.placed.x)
        when 'x_y' then sqrt(scored.placed.x ** 2 + (scored.placed.y - ((asked.start."value"->>'height')::INTEGER - 0.5) * 0.25) ** 2)
      end as d
    from tower.completions_scored as scored join rollout.requested as asked on asked.group_id = scored.group_id
  )
  select task, count(*), avg(reward), max(abs(reward - case outcome
      when 'stable' then 20 * exp(-d * d)
      when 'unstable' then 2 * exp(-d * d) - 2
      when 'inside_tower' then 2 * exp(-d * d) - 4
      when 'below_floor' then -4
      when 'correct' then 1
      when 'incorrect' then 0
      when 'non_parseable' then if(task = 'binary_stability', -1, -5)
    end))
  from placed group by task order by task`

const PAIRS = [
  ['top_block', 'binary_stability'],
  ['top_block', 'x_only'],
  ['side_block', 'x_only'],
  ['side_block', 'x_y'],
] as const

async function measured(policy: string, pairs: readonly (typeof PAIRS)[number][], scenes: number, group_size: number) {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  const wiring = await topology({ ...DEFAULTS, policy })
  await prepareLog(folder, wiring)
  const signal = new AbortController().signal
  for (const [dataset, task] of pairs) {
    const kind = { split: 'train', variant: 'plain', purpose: 'train', round: 0, seed: '1' } as const
    await generate(folder, { ...kind, dataset, task, scenes, group_size }, true, signal)
  }
  const { log, blobs, duckdb_file: file } = folder
  const sink = await openDuckDbSink({ file, log, blobs, catalogue: wiring.events, views: wiring.views, serve: false })
  const how = { only: [], until_idle: true, expire_pending: false, signal, onWorkerEvent: () => {} }
  await runPipeline({ folder, topology: wiring, sinks: [sink], ...how })
  await sink.close()
  await folder.close()
  const session = await openSql({ file })
  const rows: { task: string; n: number; mean: number; difference: number }[] = []
  for await (const batch of (await session.query(RECOMPUTED)).batches) {
    for (const [task, n, mean, difference] of batch) {
      rows.push({ task: String(task), n: Number(n), mean: Number(mean), difference: Number(difference) })
    }
  }
  await session.close()
  return rows
}

// E[2·e^(−d²) − 2] for d ~ U(0.3, 0.6) is −0.374; paper 1 A.2 has −0.373. Over 5,000 scenes: docs/results/answering-zero.md.
test('answering 0 on side x-only earns −0.374, and each reward is the formula of its position', async () => {
  const [row, ...others] = await measured('constant(<answer>0</answer>)', [PAIRS[2]], 600, 1)
  expect(others).toEqual([])
  expect(row).toMatchObject({ task: 'x_only', n: 600 })
  expect(Math.abs((row?.mean ?? 0) + 0.374)).toBeLessThan(0.01)
  expect(row?.difference).toBeLessThan(1e-12)
})

test('under a policy that meets every branch, each reward of each task is the formula of its position', async () => {
  const rows = await measured('noisy-oracle(150)', PAIRS, 20, 16)
  expect(rows.map(({ task, n }) => [task, n])).toEqual([
    ['binary_stability', 320],
    ['x_only', 640],
    ['x_y', 320],
  ])
  for (const { difference } of rows) expect(difference).toBeLessThan(1e-12)
})
