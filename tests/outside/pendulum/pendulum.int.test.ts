import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { generate } from '../../../cli/generate.ts'
import { tail } from '../../../cli/tail.ts'
import { type DataFolder, openDataFolder } from '../../../pipeline/data-folder.ts'
import { verify } from '../../../pipeline/verify.ts'
import { prepareLog } from '../../../pipeline/wiring.ts'
import { foldConformance } from '../../../processors/conformance/fold-conformance.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { runSource } from '../../../sources/run-source.ts'
import { asShape } from '../../../streams/describe.ts'
import { DEFAULTS, DOMAINS, type Topology, topology } from '../../../streams/topology.ts'
import { runUntilIdle } from '../../../testing/run-until-idle.ts'
import { sqlRows } from '../../../testing/sql-rows.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { openGravityFile } from './gravity-file.ts'
import { measurePeriod } from './measure-period.ts'
import { pendulum } from './pendulum.ts'
import { PENDULUMS, pendulums } from './pendulums.ts'

foldConformance(measurePeriod(), { load: async () => (await import('./measure-period.ts')).measurePeriod() })

const signal = new AbortController().signal
const OPTIONS = { ...DEFAULTS, policy: 'random-legal' }

/** Brings in pendulums and runs everything, in steps of a source and of a run, as often as it is called. */
async function swing(folder: DataFolder, wiring: Topology, count: number): Promise<string> {
  const { log, blobs, dir } = folder
  await prepareLog(folder, wiring)
  await runSource(pendulums(count), { log, blobs, partitions: wiring.partitions })
  const file = join(dir, 'gravities.json')
  const sink = await openGravityFile(file, log)
  await runUntilIdle(folder, wiring, { sinks: [sink] })
  await sink.close()
  return file
}

const rowsOf = ({ duckdb_file }: DataFolder, sql: string) => sqlRows({ file: duckdb_file }, sql)

test('a second domain runs next to the first one: source, fold, transform, sinks, view and verify', async () => {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  const wiring = await topology(OPTIONS, [...DOMAINS, pendulum])
  expect(asShape(wiring)).toContain('source    pendulums\n            → pendulum.swing_seen')
  await prepareLog(folder, wiring)
  const scenes = { split: 'train', variant: 'plain', purpose: 'train', round: 0, seed: '1', group_size: 4 } as const
  await generate(folder, { ...scenes, dataset: 'top_block', task: 'x_only', scenes: 3 }, true, signal)
  const file = await swing(folder, wiring, 5)

  const { gravities } = JSON.parse(await readFile(file, 'utf8')) as { gravities: Record<string, number> }
  expect(Object.keys(gravities).sort()).toEqual(['p0', 'p1', 'p2', 'p3', 'p4'])
  for (const gravity of Object.values(gravities)) expect(gravity).toBeCloseTo(9.81, 9)
  expect(await rowsOf(folder, 'select count(*)::int, round(avg(gravity), 9) from gravities')).toEqual([[5, 9.81]])
  expect(await rowsOf(folder, 'select count(*)::int from rewards')).toEqual([[12]])
  const docs = `select kind from docs where name in ('gravities', 'pendulum.swing_seen') and "column" is null`
  expect((await rowsOf(folder, docs)).flat().sort()).toEqual(['table', 'view'])

  const options = { follow: false, where: [], vocabulary: catalogueOf(wiring.events) }
  const seen = []
  for await (const { envelope, rows } of tail(folder.log, folder.blobs, 'pendulum.swing_seen', options, signal))
    seen.push([envelope?.source, rows.length])
  expect(seen).toEqual(Array.from({ length: 15 }, () => [PENDULUMS, 1]))

  const report = await verify(folder, wiring, { tables: true })
  expect([report.passed, report.records.outside]).toEqual([true, {}])
  expect(report.reports.map(({ processor, rebuilt }) => [processor, rebuilt])).toContainEqual(['infer-gravity', 5])
  await folder.close()
})

test('a domain alone, without towers: its views are there, and no others', async () => {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  const wiring = await topology(OPTIONS, [pendulum])
  await swing(folder, wiring, 2)
  const file = await swing(folder, wiring, 4)
  const stored = JSON.parse(await readFile(file, 'utf8')) as { gravities: Record<string, number>; unreadable: number }
  expect([Object.keys(stored.gravities).length, stored.unreadable]).toEqual([4, 0])
  expect(await rowsOf(folder, "select distinct name from docs where kind = 'view' order by all")).toEqual([
    ['docs'],
    ['gravities'],
  ])
  expect((await verify(folder, wiring, { tables: true })).passed).toBe(true)

  // Later the same program has towers too: their views appear with their tables.
  const both = await topology(OPTIONS, [...DOMAINS, pendulum])
  await prepareLog(folder, both)
  await runUntilIdle(folder, both)
  expect(await rowsOf(folder, 'select (select count(*)::int from rewards), count(*)::int from gravities')).toEqual([
    [0, 4],
  ])
  await folder.close()
})
