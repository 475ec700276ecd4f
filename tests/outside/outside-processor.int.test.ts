import { expect, test } from 'vitest'
import { generate } from '../../cli/generate.ts'
import { verifyFolder } from '../../cli/verify.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import { foldConformance } from '../../processors/conformance/fold-conformance.ts'
import { openSql } from '../../sinks/duckdb/sql-client.ts'
import { DEFAULTS, stage, topology } from '../../streams/topology.ts'
import { runUntilIdle } from '../run-until-idle.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { countOutcomes, outcomesCounted } from './count-outcomes.ts'

foldConformance(countOutcomes(), { load: async () => (await import('./count-outcomes.ts')).countOutcomes() })

test('a processor from outside is one new file and one line in the topology: it runs, has a table, and verifies', async () => {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  const base = await topology({ ...DEFAULTS, policy: 'random-legal' })
  const wiring = {
    ...base,
    events: [...base.events, outcomesCounted],
    stages: [...base.stages, stage(countOutcomes(), countOutcomes)],
  }
  const scenes = {
    dataset: 'top_block',
    task: 'x_only',
    split: 'train',
    variant: 'plain',
    purpose: 'train',
    round: 0,
  } as const
  const signal = new AbortController().signal
  await prepareLog(folder, wiring)
  await generate(folder, { ...scenes, scenes: 5, seed: '1', group_size: 4 }, true, signal)
  await runUntilIdle(folder, wiring)
  expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)
  await folder.close()

  const session = await openSql({ file: folder.duckdb_file })
  const { batches } = await session.query(
    'select count(*), sum(list_sum(map_values(outcomes))) from lab.outcomes_counted',
  )
  for await (const rows of batches) expect(rows.map((row) => row.map(Number))).toEqual([[5, 20]])
  session.close()
})
