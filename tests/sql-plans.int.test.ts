import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import type { Ask, Row } from '../pipeline/ask-rows.ts'
import { leakageOf } from '../pipeline/ledger/leakage.ts'
import { epochsOf, weightsNamed } from '../pipeline/ledger/named-weights.ts'
import { diffOf } from '../pipeline/ledger/run-diff.ts'
import { stepsOf } from '../pipeline/ledger/steps-of.ts'
import { modelPublished } from '../schemas/events/model.ts'
import { type Database, openDatabase } from '../sinks/duckdb/database.ts'
import { openDuckDbSink } from '../sinks/duckdb/duckdb-sink.ts'
import type { View } from '../sinks/duckdb/views/view.ts'
import { DEFAULTS, DOMAINS, type Topology, topology } from '../streams/topology.ts'
import { catalogue, reports, views } from '../streams/vocabulary.ts'
import { append, createTopics } from '../testing/duckdb/recorded-tower.ts'
import { appendTold, FedConsumer, FormedGroups } from '../testing/duckdb/recorded-training.ts'
import { published } from '../testing/published-model.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'
import { documentedStatements } from './documented-statements.ts'
import { askedPendulum } from './outside/pendulum/asked-pendulum.ts'

/** Joins whose work is the sum of their sides, not the product. */
const HASH_JOINS = ['HASH_JOIN']

interface PlanNode {
  readonly name: string
  readonly children?: readonly PlanNode[]
  readonly extra_info?: Readonly<Record<string, unknown>>
}

interface Tables {
  readonly database: Database
  readonly connection: DuckDBConnection
}

/** Tables that were loaded from towers, for the events and views of this program or of more domains. */
async function tablesOf(folder: string, { events, views }: Pick<Topology, 'events' | 'views'>): Promise<Tables> {
  const log = memoryLog()
  await createTopics(log, events)
  await append(log, (story) => {
    for (let group = 0; group < 8; group++) {
      story.requested(`g${group}`, 2).sampled(`g${group}`, [0, 1]).scored(`g${group}`, [20, 0])
      if (group % 2 === 0) story.formed(`g${group}`, [20, 0])
    }
    story
      .expired('g1', [0], [1])
      .rejected('g3', 0, 'late')
      .state('g5', { slots: { 0: { sampled_id: 'sampled-g5' } } })
  })
  const fed = new FedConsumer('lab').subscribed().started()
  const places = new FormedGroups()
  const groups = [0, 1, 2, 3].map((sequence) => [sequence, places.place(`g${sequence * 2}`)] as const)
  fed.leased(0, groups).begun(0, 1, groups).applied(0, 1, groups).completed(0, 1).saved('c1', 1, groups)
  fed.rolledBack(null, 'durable', groups).leased(0, groups).ended(0, groups).dropped(groups).retired()
  await appendTold(log, fed.told)
  const other = new FedConsumer('other').subscribed().started()
  await appendTold(log, other.leased(0, groups).begun(0, 1, groups).applied(0, 1, groups).completed(0, 1).told)
  await append(log, (story) => {
    const trained_at = { consumer: 'other', run: 'r1', epoch: 1, step: 1 }
    story.event(modelPublished, published({ model_id: 'base', version: 0, trained_on: ['g1', 'clevr'] }))
    story.event(modelPublished, published({ model_id: 'm', version: 1, parent: 'base', trained_at }))
    story.requested('e', 2, 'e', { purpose: 'eval' })
  })
  const file = join(folder, 'test.duckdb')
  const sink = await openDuckDbSink({ file, log, catalogue: events, views, serve: false })
  await sink.loadOnce()
  await sink.close()
  // Open the file again: DuckDB stores a view in its own words, not as the text that created it.
  const database = await openDatabase({ file, access: 'read_only' })
  return { database, connection: await database.connect() }
}

let folder: string
let tables: Tables
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plumbline-plans-'))
  tables = await tablesOf(folder, { events: catalogue, views })
})
afterAll(async () => {
  tables.connection.disconnectSync()
  await tables.database.close()
  await rm(folder, { recursive: true, force: true })
})

async function planOf(sql: string, { connection } = tables): Promise<PlanNode[]> {
  const rows = (await connection.runAndReadAll(`EXPLAIN (FORMAT json) ${sql}`)).getRows()
  return (JSON.parse(String(rows[0]?.[1])) as PlanNode[]).flatMap(nodesOf)
}
const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.children ?? []).flatMap(nodesOf)]

const otherJoins = async (sql: string, of = tables) =>
  (await planOf(sql, of))
    .map(({ name }) => name.trim())
    .filter((name) => /JOIN|CROSS|POSITIONAL/.test(name) && !HASH_JOINS.includes(name))

/** `SCHEMA.TABLE` → the columns that are read from it. */
async function readBy(sql: string): Promise<Map<string, Set<string>>> {
  const read = new Map<string, Set<string>>()
  for (const { name, extra_info = {} } of await planOf(sql)) {
    if (!name.includes('SCAN') || extra_info.Table === undefined) continue
    const table = String(extra_info.Table).replaceAll('"', '').split('.').slice(-2).join('.')
    const columns = [extra_info.Projections ?? []].flat().map(String)
    read.set(table, new Set([...(read.get(table) ?? []), ...columns]))
  }
  return read
}

async function expectHashJoins(of: Tables, views: readonly View[]): Promise<void> {
  for (const { name, columns } of views) {
    const [column] = Object.keys(columns) as [string]
    const asked = [
      `FROM ${name}`,
      `SELECT count(*) FROM ${name}`,
      `SELECT ${column}, count(*) FROM ${name} GROUP BY ALL`,
      `FROM ${name} ORDER BY ALL LIMIT 5`,
      ...['group_id', 'scene_id', 'sampled_id', 'reward_name', 'fate', 'state', 'consumer', 'model_id']
        .filter((key) => key in columns)
        .map((key) => `FROM ${name} WHERE ${key} = 'g0'`),
    ]
    for (const sql of asked) expect(await otherJoins(sql, of), sql).toEqual([])
  }
}

test('every view, whole, in part and counted, is planned with hash joins alone', async () => {
  await expectHashJoins(tables, views)
  expect(await otherJoins('FROM docs')).toEqual([])
})

test('with a second world, every view is planned with hash joins alone too', async () => {
  const wiring = await topology(DEFAULTS, [...DOMAINS, askedPendulum])
  const own = await temporaryFolder()
  const both = await tablesOf(own, wiring)
  await expectHashJoins(both, wiring.views)
  both.connection.disconnectSync()
  await both.database.close()
})

test('every query of a report is planned with hash joins alone', async () => {
  const asked = reports.flatMap(({ questions }) => questions)
  expect(asked.length).toBeGreaterThan(6)
  for (const sql of asked) expect(await otherJoins(sql), sql).toEqual([])
})

test('every statement of the documents is planned with hash joins alone', async () => {
  const statements = await documentedStatements()
  expect(statements.length).toBeGreaterThan(12)
  for (const sql of statements) expect(await otherJoins(sql), sql).toEqual([])
})

/** Every statement that a command sends to the tables. */
async function statementsOf(work: (ask: Ask) => Promise<unknown>): Promise<string[]> {
  const sent: string[] = []
  await work(async function* (sql: string) {
    sent.push(sql)
    yield* (await tables.connection.runAndReadAll(sql)).getRowObjectsJson() as unknown as Row[]
  })
  return sent
}

test('every statement of ledger, ledger diff and audit leakage is planned with hash joins alone', async () => {
  const ledger = await statementsOf(async (ask) => {
    for (const name of ['m', 'other/r1', 'lab/r1']) {
      const named = await weightsNamed(ask, name)
      await epochsOf(ask, named)
      expect((await stepsOf(ask, named).next()).value, name).toBeDefined()
    }
  })
  const diff = await statementsOf(async (ask) => {
    const found = await diffOf(ask, [await weightsNamed(ask, 'other/r1'), await weightsNamed(ask, 'm')])
    expect(found.names).toEqual(['other/r1', 'm'])
  })
  const unlike = await statementsOf(async (ask) => {
    await diffOf(ask, [await weightsNamed(ask, 'lab/r1'), await weightsNamed(ask, 'other/r1')])
  })
  const unnamed = await statementsOf(async (ask) => {
    await expect(weightsNamed(ask, 'nothing')).rejects.toThrow(/no such model/)
  })
  const leakage = await statementsOf(async (ask) => {
    const found = await leakageOf(ask, await weightsNamed(ask, 'm'))
    expect(found).toMatchObject({ eval_groups: 1, trained_groups: 6, not_compared: ['clevr'] })
  })
  // Three for each of the first names, and at least what the others add.
  expect(ledger.length).toBeGreaterThan(8)
  expect([...diff, ...unlike, ...unnamed].length).toBeGreaterThan(10)
  expect(leakage.length).toBeGreaterThan(3)
  for (const sql of [...ledger, ...diff, ...unlike, ...unnamed, ...leakage]) {
    expect(await otherJoins(sql), sql).toEqual([])
  }
})

test('a question about one group asks every table that it reads of groups for this group alone', async () => {
  const scans = (await planOf("FROM ledger WHERE group_id = 'g0'")).filter(({ name }) => name.includes('SCAN'))
  const [of_groups, others] = [true, false].map((has) =>
    scans.filter(({ extra_info = {} }) => [extra_info.Projections ?? []].flat().includes('group_id') === has),
  )
  expect(of_groups?.length).toBe(8)
  for (const { extra_info } of of_groups ?? []) expect(JSON.stringify(extra_info)).toContain("group_id='g0'")
  expect(others?.map(({ extra_info = {} }) => String(extra_info.Table).split('.').at(-1)).sort()).toEqual([
    'consumer_retired',
    'consumer_subscribed',
    'offsets_expired',
  ])
})

test('a cross join is detected: the test can fail', async () => {
  const all_with_all = `
    SELECT * FROM tower.completions_scored AS a
    LEFT JOIN rollout.group_formed AS b ON a.sampled_id = b.sampled_id AND a.reward_name IS NULL`
  expect(await otherJoins(all_with_all)).toEqual(['BLOCKWISE_NL_JOIN'])
})

test('texts, tokens and pictures are not read by a query that does not ask for them', async () => {
  const heavy = [
    'text',
    'token_ids',
    'logprobs',
    'prompt_token_ids',
    'images',
    'reward_components',
    'prompt',
    'metrics',
  ]
  const questions = [
    'SELECT task, outcome, count(*), avg(reward) FROM rewards GROUP BY ALL',
    'SELECT policy, avg(advantage) FROM rewards GROUP BY ALL',
    'SELECT state, count(*) FROM groups GROUP BY ALL',
    'SELECT reward_name, avg(paper) FROM advantages GROUP BY ALL',
    'FROM reward_groups',
    'FROM reward_comparison',
    'FROM funnel',
    'FROM ledger',
    'FROM consumers',
    'FROM steps',
    'FROM staleness',
    'FROM model_groups',
  ]
  for (const sql of questions) {
    const read = await readBy(sql)
    expect(read.size, sql).toBeGreaterThan(0)
    for (const [table, columns] of read) {
      expect(
        [...columns].filter((column) => heavy.includes(column)),
        `${sql}: ${table}`,
      ).toEqual([])
    }
  }
  expect((await readBy('SELECT text FROM rewards')).get('policy.completions_sampled')).toContain('text')
})
