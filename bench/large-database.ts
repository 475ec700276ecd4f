import { memoryLog } from '../infra/log/memory/memory-log.ts'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import type { RecordedCompletion } from '../processors/rescore-completions/custom-reward.ts'
import { rescoreCompletions } from '../processors/rescore-completions/rescore-completions.ts'
import { sampleCompletions } from '../processors/sample-completions/sample-completions.ts'
import { towerPolicies } from '../processors/sample-completions/tower-policies.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { tableOf } from '../schemas/derive/duckdb-table.ts'
import { qualified, quoted } from '../schemas/derive/sql-quoting.ts'
import { completionsScored } from '../schemas/events/tower.ts'
import { openDatabase } from '../sinks/duckdb/database.ts'
import { openDuckDbSink } from '../sinks/duckdb/duckdb-sink.ts'
import { EXAMPLE_REWARD } from '../sinks/duckdb/views/tower-reports.ts'
import type { Emitted } from '../sources/source.ts'
import { towerScenes } from '../sources/tower-scenes.ts'
import { catalogue, views } from '../streams/vocabulary.ts'
import { reward } from './reward.ts'
import { appendAll, emittedBy, noBlobs } from './tower-log.ts'

/** N of paper 1 §3.3. */
const GROUP_SIZE = 16
/** How many groups are really sampled and scored; the others are copies of them with new ids. */
const REAL_GROUPS = 100
/** How many rows of a table are copied at once, so that their sort fits into memory. */
const COPIED_ROWS = 320_000

const MIX = [
  ['side_block', 'x_y'],
  ['top_block', 'x_only'],
  ['side_block', 'x_only'],
  ['top_block', 'binary_stability'],
] as const

/**
 * Makes a database file as the sink makes it: the same tables, views, indices and row groups. A hundred groups are
 * loaded from a log; the others are copies of them, made by DuckDB, in which every id is new and the rows of a batch
 * are adjacent. Then the sink opens the file and does its work at rest.
 *
 * @param completions a multiple of 1,600
 */
export async function makeLargeDatabase(file: string, completions: number): Promise<void> {
  const copies = completions / GROUP_SIZE / REAL_GROUPS
  if (!Number.isSafeInteger(copies) || copies < 1) {
    throw new RangeError(`${completions} completions: expected a multiple of ${GROUP_SIZE * REAL_GROUPS}`)
  }
  const log = memoryLog()
  const events = await towerEvents()
  await appendAll(log, events, [formGroups({ dialect: 'paper', scored: [completionsScored] })])
  await rest()
  const database = await openDatabase({ file, access: 'owner' })
  const connection = await database.connect()
  const step = Math.floor(COPIED_ROWS / GROUP_SIZE / REAL_GROUPS)
  for (let from = 1; from < copies; from += step) {
    for (const type of new Set(events.map(({ type }) => type))) {
      await connection.run(copiesOf(type, from, Math.min(copies, from + step)))
    }
  }
  await connection.run(
    'INSERT OR IGNORE INTO internal.rewarded_groups SELECT DISTINCT group_id, false FROM tower.completions_scored',
  )
  connection.disconnectSync()
  await database.close()
  await rest()

  async function rest(): Promise<void> {
    const sink = await openDuckDbSink({ file, log, catalogue, views, serve: false })
    await sink.loadOnce()
    await sink.close()
  }
}

async function towerEvents(): Promise<readonly Emitted[]> {
  const scenes = REAL_GROUPS / MIX.length
  const shared = { split: 'train', variant: 'plain', purpose: 'train', seed: 'bench', round: 0 } as const
  const asked: Emitted[] = []
  for (const [dataset, task] of MIX) {
    const source = towerScenes({ ...shared, dataset, task, scenes, group_size: GROUP_SIZE }, noBlobs)
    asked.push(...(await source.produce(0, scenes, new AbortController().signal)))
  }
  const sampled = await emittedBy(sampleCompletions('noisy-oracle(150)', [towerPolicies]), asked)
  const scored = await emittedBy(scoreCompletions(await paperScorer()), [...asked, ...sampled])
  const formed = await emittedBy(formGroups({ dialect: 'paper', scored: [completionsScored] }), [
    ...asked,
    ...sampled,
    ...scored,
  ])
  const own = {
    name: EXAMPLE_REWARD,
    version: 1,
    dialect: 'trl',
    where: 'bench/reward.ts, reward',
    source_sha256: 'a'.repeat(64),
    evaluate: (completions: readonly RecordedCompletion[]) =>
      completions.map((completion) => ({ reward: reward(completion), reward_components: {} })),
  } as const
  return [...asked, ...sampled, ...scored, ...formed, ...(await emittedBy(rescoreCompletions(own), scored))]
}

/** Columns with ids, which are new in each copy. */
const IDS = new Set([
  'ce_id',
  'ce_correlation',
  'group_id',
  'scene_id',
  'start_id',
  'sampled_id',
  'scored_id',
  'attempt_id',
])
const FARTHER = 1_000_000

function copiesOf(type: EventType, from: number, to: number): string {
  const { schema, table, columns } = tableOf(type)
  const name = qualified(schema, table)
  const again = (id: string) => `md5(${id} || '/' || copy)`
  const values = columns.map(({ name: column }) => {
    const own = quoted(column)
    if (IDS.has(column)) return again(own)
    if (column === 'ce_causes') return `list_transform(${own}, lambda id: ${again('id')})`
    if (column === 'log_offset') return `${own} + copy * ${FARTHER}`
    return own
  })
  return `
    INSERT INTO ${name} SELECT ${values.join(', ')}
    FROM (FROM ${name} WHERE log_offset < ${FARTHER}) AS real, range(${from}, ${to}) AS copies(copy)
    ORDER BY log_partition, copy, log_offset, "row"`
}
