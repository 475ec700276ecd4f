import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { openPhysics } from '../environments/tower/physics.ts'
import { makeFolder } from '../infra/make-folder.ts'
import { askRows, type Row } from '../pipeline/ask-rows.ts'
import { duckdbFile, openedBefore } from '../pipeline/data-folder.ts'
import { comparisonOf, comparisonSvg, comparisonText } from '../pipeline/report/compare.ts'
import { funnelReport, funnelSvg, funnelText } from '../pipeline/report/funnel.ts'
import { INTERVALS, type IntervalMethod } from '../pipeline/report/interval.ts'
import { rewardReport, rewardSvg, rewardText } from '../pipeline/report/rewards.ts'
import { drawFigure, FIGURES } from '../pipeline/report/surfaces.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { FUNNEL_CHECK_SQL, FUNNEL_SQL } from '../sinks/duckdb/views/funnel-report.ts'
import type { Report } from '../sinks/duckdb/views/report.ts'
import { comparisonSql, REWARD_GROUPS_SQL } from '../sinks/duckdb/views/tower-reports.ts'
import { reports } from '../streams/vocabulary.ts'
import { globals, oneOfWords } from './options.ts'
import { ask } from './sql.ts'

interface RewardsOptions {
  interval: IntervalMethod
  seed: string
  svg?: string
}

export function addReport(report: Command): void {
  report
    .command('rewards')
    .description(aboutOf('rewards'))
    .option('--interval <method>', INTERVALS.join(', '), oneOfWords('interval', INTERVALS), 't')
    .option('--seed <s>', 'seed of the bootstrap, any text', '1')
    .option('--svg <file>', 'also draw a picture')
    .action(async (options: RewardsOptions, command: Command) => {
      const { file, json } = placeOf(command)
      const found = await rewardReport(askRows(file, REWARD_GROUPS_SQL), options.interval, options.seed)
      print(json ? `${JSON.stringify(found)}\n` : rewardText(found))
      await draw(options.svg, () => rewardSvg(found), json)
    })

  report
    .command('funnel')
    .description(aboutOf('funnel'))
    .option('--svg <file>', 'also draw a picture')
    .action(async (options: { svg?: string }, command: Command) => {
      const { file, json } = placeOf(command)
      const [check = {}] = await all(file, FUNNEL_CHECK_SQL)
      const found = funnelReport(await all(file, FUNNEL_SQL), check)
      print(json ? `${JSON.stringify(found)}\n` : funnelText(found))
      await draw(options.svg, () => funnelSvg(found), json)
      if (!found.holds) process.exitCode = 1
    })

  report
    .command('compare <name>')
    .description(aboutOf('compare'))
    .option('--svg <file>', 'also draw a picture')
    .action(async (name: string, options: { svg?: string }, command: Command) => {
      const { file, json } = placeOf(command)
      const sql = comparisonSql(name)
      const rows = {
        tasks: await all(file, sql.tasks),
        outcomes: await all(file, sql.outcomes),
        distances: options.svg === undefined ? [] : await all(file, sql.distances),
        advantages: options.svg === undefined ? [] : await all(file, sql.advantages),
      }
      if (rows.tasks.length === 0) throw await nothingToCompare(file, name)
      const found = comparisonOf(name, rows)
      print(json ? `${JSON.stringify(found)}\n` : comparisonText(found))
      await draw(options.svg, () => comparisonSvg(found, rows), json)
    })

  report
    .command('surfaces')
    .description('the reward surfaces of paper 1, figures 7 and 8, computed by the reward code')
    .requiredOption('--out <dir>', 'folder for the pictures')
    .action(async ({ out }: { out: string }, command: Command) => {
      const { json } = globals(command)
      const physics = await openPhysics()
      makeFolder(out)
      const files = []
      for (const figure of FIGURES) {
        const file = join(out, figure.file)
        await writeFile(file, drawFigure(figure, physics))
        files.push(file)
      }
      print(json ? `${JSON.stringify({ files })}\n` : files.map((file) => `${file}\n`).join(''))
    })

  const laid_out = new Set(report.commands.map((command) => command.name()))
  for (const plain of reports) if (!laid_out.has(plain.name)) addPlain(report, plain)
}

/** A report of a domain that has no layout of its own: the answer of each question as a table. */
function addPlain(report: Command, { name, about, questions }: Report): void {
  report
    .command(name)
    .description(about)
    .action(async (_options: unknown, command: Command) => {
      const { file, json } = placeOf(command)
      const format = json ? 'json' : 'table'
      for (const question of questions) await ask(file, question, format, { limit: 1_000, width: 60, timeout: 600 })
    })
}

const aboutOf = (name: string) => reports.find((report) => report.name === name)?.about ?? ''

function placeOf(command: Command): { file: string; json: boolean } {
  const global = globals(command)
  openedBefore(global)
  return { file: duckdbFile(resolve(global.data)), json: global.json }
}

async function all(file: string, sql: string): Promise<Row[]> {
  const rows: Row[] = []
  for await (const row of askRows(file, sql)) rows.push(row)
  return rows
}

async function nothingToCompare(file: string, name: string): Promise<UsageError> {
  const known = await all(file, 'select reward_name from tower.reward_defined order by all')
  const names = known.map(({ reward_name }) => String(reward_name))
  if (names.includes(name)) {
    return new UsageError(
      `report compare ${name}: no formed group has this reward`,
      'completions are compared within groups: ./plumbline run --until-idle forms them, ./plumbline rescore … processes what is new',
    )
  }
  return new UsageError(
    `report compare ${name}: no reward of this name is loaded; there ${names.length === 0 ? 'is none yet' : `are ${names.join(', ')}`}`,
    `./plumbline rescore --reward FILE.ts --name ${name}`,
  )
}

async function draw(file: string | undefined, picture: () => string, silent: boolean): Promise<void> {
  if (file === undefined) return
  await writeFile(file, picture())
  if (!silent) process.stderr.write(`picture: ${file}\n`)
}

const print = (text: string) => process.stdout.write(text)
