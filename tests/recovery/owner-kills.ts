import { setTimeout as wait } from 'node:timers/promises'
import { random } from '../../environments/tower/random.ts'
import { readOwner } from '../../sinks/duckdb/owner-record.ts'
import { SqlEndedError, SqlFailedError, SqlTimeoutError } from '../../sinks/duckdb/sql-errors.ts'
import { outputOf, start } from '../../testing/program.ts'
import { sqlRows } from '../../testing/sql-rows.ts'

export interface OwnerKills {
  readonly kills: number
  readonly seed: string
  /** An empty folder. */
  readonly cwd: string
  readonly report: (line: string) => void
}

export interface OwnerKilled {
  /** Broken guarantees. */
  readonly breaches: readonly string[]
  /** For each kill, the time from the kill or the new work, whichever is later, until all work is in the tables. */
  readonly recoveries_ms: readonly number[]
}

/** Uses memory that DuckDB does not count. */
const GREEDY = 'select range(100000) from range(40000)'
/** DuckDB makes each text in one go, without checking for an interrupt. */
const STUBBORN = "select length(printf('%1900000000d', range)) from range(40)"
const STRIKES = ['a signal', 'a question that takes too much memory', 'a question that cannot be interrupted'] as const

const GROUP_SIZE = 2
const RECOVERY_MS = 10_000
const PATIENCE_MS = 120_000

/**
 * Ends the process that owns the tables of a `run` again and again, by signals at any moment and by queries, while new
 * work arrives. Then compares the tables with what was requested.
 */
export async function ownerKills({ kills, seed, cwd, report }: OwnerKills): Promise<OwnerKilled> {
  const draw = random('owner-kills', seed)
  const file = `${cwd}/data/plumbline.duckdb`
  const breaches: string[] = []
  const recoveries_ms: number[] = []
  let scenes = 1
  await generate(scenes, cwd)
  const run = start(['run', '--policy', 'random-legal', '--sql-memory', '768MiB'], { cwd })
  try {
    await loaded(file, scenes)
    for (let kill = 1; kill <= kills; kill += 1) {
      scenes += draw.integer(1, 4)
      const more = generate(scenes, cwd)
      const how = STRIKES[draw.integer(0, STRIKES.length - 1)] as (typeof STRIKES)[number]
      await wait(draw.integer(0, 800))
      const trouble = await strike(file, how)
      await more
      const began_ms = performance.now()
      await loaded(file, scenes)
      const took_ms = performance.now() - began_ms
      recoveries_ms.push(took_ms)
      if (trouble !== undefined) breaches.push(`kill ${kill} by ${how}: ${trouble}`)
      if (took_ms > RECOVERY_MS)
        breaches.push(`kill ${kill} by ${how}: ${(took_ms / 1e3).toFixed(1)} s until it was loaded`)
      report(`${kill}. ${how}: all of it answered after ${(took_ms / 1e3).toFixed(1)} s`)
    }
    run.child.kill('SIGTERM')
    const { code, stderr } = await run.ended
    if (code !== 0) breaches.push(`run ended with ${code}: ${stderr}`)
    const worker = stderr
      .split('\n')
      .find((line) => /^plumbline: [a-z-]+: .*it tries again|have another owner/.test(line))
    if (worker !== undefined) breaches.push(`a worker stopped: ${worker}`)
    const restarts = stderr.split('\n').filter((line) => /the DuckDB process .* is started again/i.test(line)).length
    if (restarts < kills) breaches.push(`told of ${restarts} ends of the process, and there were ${kills}`)
    breaches.push(...(await miscounted(file, scenes)))
    await outputOf(['verify'], start(['verify'], { cwd }).ended)
  } finally {
    run.child.kill('SIGKILL')
    await run.ended
  }
  return { breaches, recoveries_ms }
}

function generate(scenes: number, cwd: string): Promise<string> {
  const tower = ['--dataset', 'side_block', '--task', 'x_y', '--seed', '7', '--group-size', `${GROUP_SIZE}`]
  const words = ['generate', 'tower', ...tower, '--scenes', `${scenes}`]
  return outputOf(words, start(words, { cwd }).ended)
}

/** Ends the owner. @returns the broken guarantee, if any */
async function strike(file: string, how: (typeof STRIKES)[number]): Promise<string | undefined> {
  const before = readOwner(file)?.pid
  if (how === 'a signal') {
    if (before !== undefined) process.kill(before, 'SIGKILL')
    return undefined
  }
  const greedy = how === STRIKES[1]
  const failed = await ask(file, greedy ? GREEDY : STUBBORN, greedy ? 60_000 : 300).catch((cause: unknown) => cause)
  // A query that cannot be interrupted is answered before the process ends: wait for the end.
  for (let waited = 0; readOwner(file)?.pid === before && waited < PATIENCE_MS; waited += 50) await wait(50)
  if (greedy && failed instanceof SqlEndedError && /--sql-memory/.test(failed.message)) return undefined
  if (!greedy && (failed instanceof SqlTimeoutError || failed instanceof SqlEndedError)) return undefined
  return `it was answered with ${failed}`
}

const ask = (file: string, sql: string, time_limit_ms = 30_000) => sqlRows({ file, time_limit_ms }, sql)

/** Waits until every group of so many scenes is in the tables. @throws Error when that takes too long */
async function loaded(file: string, scenes: number): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS
  for (let found: unknown; ; ) {
    found = await ask(file, 'select count(distinct group_id)::int from rollout.group_formed').catch((cause) => cause)
    if (Array.isArray(found) && found[0]?.[0] === scenes) return
    if (performance.now() > deadline) throw new Error(`expected ${scenes} groups in ${file}, got ${found}`)
    await wait(found instanceof SqlFailedError || found instanceof Error ? 100 : 50)
  }
}

async function miscounted(file: string, scenes: number): Promise<string[]> {
  const completions = scenes * GROUP_SIZE
  const tables: Readonly<Record<string, number>> = {
    'rollout.requested': scenes,
    'policy.completions_sampled': completions,
    'tower.completions_scored': completions,
    'rollout.group_formed': completions,
  }
  const wrong: string[] = []
  for (const [table, expected] of Object.entries(tables)) {
    const [[rows, different] = []] = await ask(
      file,
      `select count(*)::int, count(distinct (ce_id, "row"))::int from ${table}`,
    )
    if (rows !== expected || different !== expected) {
      wrong.push(`${table}: expected ${expected} rows, got ${rows}, ${different} of them different`)
    }
  }
  const [[holds, lost] = []] = await ask(file, 'select holds, lost::int from funnel_check')
  if (holds !== true || lost !== 0) wrong.push(`the funnel: holds ${holds}, lost ${lost}`)
  return wrong
}
