import { join } from 'node:path'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { literal } from '../schemas/derive/sql-quoting.ts'
import { type Database, openDatabase } from '../sinks/duckdb/database.ts'
import { exportParquet } from '../sinks/duckdb/export-parquet.ts'
import { reports, views } from '../streams/vocabulary.ts'
import { documentedStatements } from '../tests/documented-statements.ts'
import { benchFolder } from './folder.ts'
import { exponentsOf, sizesOf } from './growth-exponent.ts'
import { makeLargeDatabase } from './large-database.ts'
import { type Gauge, type Measure, medianOf, type OpenBench } from './pairs.ts'

/** The most typical question. */
const QUESTION = 'select task, outcome, count(*), avg(reward) from rewards group by all'
const LIMIT_MS = 3_600_000
/** A query that takes longer is run once. */
const LONG_MS = 5_000
const LOOKUP_GOAL_MS = 300
/** Shorter times count as this: they are too short to show growth. */
const SHORT_MS = 25

const SIZES = [32_000, 320_000, 3_200_000]
const QUICK_SIZES = [1_600, 3_200]

/**
 * Every view, report and documented statement over databases of several sizes, which include a rescored reward: its
 * time, and how that grows. And the typical query, compared with the same one on a flat table of the same rows.
 */
export const open: OpenBench = async ({ quick, completions = quick ? QUICK_SIZES : SIZES }) => {
  const sizes = sizesOf(completions)
  const turns = quick ? 1 : 3
  const folder = await benchFolder()
  const exports = folder.fresh('exports')
  const fileOf = (size: number) => join(folder.path, `tower-${size}.duckdb`)
  for (const size of sizes) {
    process.stderr.write(`sql: making a database of ${size.toLocaleString('en-US')} completions\n`)
    await makeLargeDatabase(fileOf(size), size)
  }
  const most = sizes.at(-1) as number
  const flat = await flatTable(fileOf(most), folder.fresh('flat.duckdb'))
  const opened = new Map<number, Database>()
  for (const size of sizes) {
    opened.set(size, await openDatabase({ file: fileOf(size), access: 'read_only', export_dir: exports }))
  }
  const ours = await (opened.get(most) as Database).connect()
  const [[group, scene]] = (
    await ours.runAndReadAll(`SELECT group_id, scene_id FROM tower.completions_scored LIMIT 1 OFFSET ${most / 2}`)
  ).getRows() as [[string, string]]
  const rows = await ask(flat.connection, 'FROM flat')

  const beside = (
    what: string,
    goal: number,
    run: () => Promise<unknown>,
    flatly: () => Promise<unknown>,
  ): Measure => ({
    what,
    unit: 'rows',
    seconds: 'wall',
    goal,
    candidate: { what: 'view', run: () => run().then(() => rows) },
    ceiling: { what: 'one flat table of the same rows', run: () => flatly().then(() => rows) },
  })
  const measures = [
    beside(
      `\`${QUESTION}\``,
      1 / 3,
      () => ask(ours, QUESTION),
      () => ask(flat.connection, QUESTION.replace('rewards', 'flat')),
    ),
    beside(
      'export parquet --table rewards',
      0.5,
      async () =>
        exportParquet(await (opened.get(most) as Database).connect(), { table: 'rewards', by: [] }, exports, LIMIT_MS),
      () =>
        ask(
          flat.connection,
          `COPY flat TO ${literal(folder.fresh('flat.parquet'))} (FORMAT parquet, COMPRESSION zstd)`,
        ),
    ),
  ]
  const lookups: Gauge[] = [
    ...['rewards', 'groups', 'advantages', 'completion_fates', 'reward_groups', 'reward_comparison'].map((view) =>
      milliseconds(`one group of ${view}`, ours, `FROM ${view} WHERE group_id = ${literal(group)}`, turns),
    ),
    milliseconds('one scene of rewards', ours, `FROM rewards WHERE scene_id = ${literal(scene)}`, turns),
  ]
  const growth: Gauge[] = (await questions()).flatMap(({ what, sql }) => growthOf(what, sql, turns, opened))
  return {
    measures,
    gauges: [...lookups, ...growth],
    async close() {
      ours.disconnectSync()
      flat.close()
      for (const database of opened.values()) await database.close()
      await folder.remove()
    },
  }
}

async function questions(): Promise<{ readonly what: string; readonly sql: string }[]> {
  const whole = views.map(({ name }) => ({
    what: `all of ${name}`,
    sql: `SELECT bit_xor(hash(*COLUMNS(*))) FROM ${name}`,
  }))
  const asked = [...reports.flatMap(({ questions }) => questions), ...(await documentedStatements())]
  const statements = asked.map((sql) => {
    const line = sql.trim().replaceAll(/\s+/g, ' ')
    return { what: `\`${line.length > 100 ? `${line.slice(0, 99)}…` : line}\``, sql }
  })
  return [...whole, ...statements]
}

/** Two gauges of a question: its time at the largest size, and the exponent of its growth. */
function growthOf(what: string, sql: string, turns: number, opened: ReadonlyMap<number, Database>): Gauge[] {
  const sizes = [...opened.keys()]

  const taken_ms: number[] = []
  return [
    {
      what: `${what}, at ${(sizes.at(-1) as number).toLocaleString('en-US')}`,
      unit: 'ms',
      async values() {
        for (const size of sizes) {
          const connection = await (opened.get(size) as Database).connect()
          taken_ms.push(medianOf(await timesOf(connection, sql, turns)))
          connection.disconnectSync()
        }
        return [taken_ms.at(-1) as number]
      },
    },
    {
      what: `${what}, growth`,
      unit: 'exponent',
      goal: 1.1,
      values: () =>
        exponentsOf(
          sizes,
          taken_ms.map((ms) => Math.max(ms, SHORT_MS)),
        ),
    },
  ]
}

const milliseconds = (what: string, connection: DuckDBConnection, sql: string, turns: number): Gauge => ({
  what,
  unit: 'ms',
  goal: LOOKUP_GOAL_MS,
  values: async () => [medianOf(await timesOf(connection, sql, turns))],
})

async function timesOf(connection: DuckDBConnection, sql: string, turns: number): Promise<number[]> {
  const taken: number[] = []
  for (let turn = 0; turn < turns && (taken[0] ?? 0) < LONG_MS; turn++) {
    const started_ms = performance.now()
    await ask(connection, sql)
    taken.push(performance.now() - started_ms)
  }
  return taken
}

/** Reads every chunk of an answer and converts nothing. Returns its rows. */
async function ask(connection: DuckDBConnection, sql: string): Promise<number> {
  const result = await connection.stream(sql)
  let rows = 0
  for (;;) {
    const chunk = await result.fetchChunk()
    if (chunk === null || chunk.rowCount === 0) return rows
    rows += chunk.rowCount
  }
}

async function flatTable(file: string, flat: string): Promise<{ connection: DuckDBConnection; close(): void }> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`ATTACH ${literal(file)} AS loaded (READ_ONLY)`)
  await connection.run(`ATTACH ${literal(flat)} AS peer`)
  await connection.run('USE loaded')
  await connection.run('CREATE TABLE peer.flat AS FROM rewards')
  await connection.run('USE peer')
  await connection.run('DETACH loaded')
  await connection.run('CHECKPOINT')
  return {
    connection,
    close() {
      connection.disconnectSync()
      instance.closeSync()
    },
  }
}
