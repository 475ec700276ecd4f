import { rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Command } from 'commander'
import { type DataFolder, isKafka, openDataFolder } from '../pipeline/data-folder.ts'
import { runPipeline } from '../pipeline/run-pipeline.ts'
import { startTables, tablesOf } from '../pipeline/tables.ts'
import { TINY_CONSUMER, trainTiny } from '../pipeline/tiny-trainer.ts'
import { verify } from '../pipeline/verify.ts'
import { prepareLog, wiringOf, wiringOn } from '../pipeline/wiring.ts'
import { DEFAULTS } from '../streams/topology.ts'
import { generate } from './generate.ts'
import { globals, stopSignal, wholeNumber } from './options.ts'
import { savePicture } from './picture.ts'
import { RunReport } from './run-report.ts'
import { answer, ask } from './sql.ts'
import { verifyFolder } from './verify.ts'

const TASKS = [
  { dataset: 'top_block', task: 'binary_stability' },
  { dataset: 'top_block', task: 'x_only' },
  { dataset: 'side_block', task: 'x_only' },
  { dataset: 'side_block', task: 'x_y' },
] as const

const FUNNEL = 'select * from funnel'
const REWARDS =
  'select dataset, task, outcome, count(*) as n, avg(reward) as reward from rewards group by all order by all'
/** What became of the groups that the demo's trainer subscribed to. */
const CONSUMER = `select run, step, matching as groups, waiting, leased, applied, durable, dropped, lost
  from consumers where consumer = '${TINY_CONSUMER}'`

const TABLES = { limit: 40, width: 80, timeout: 60 }

export function addDemo(command: Command): void {
  command
    .option('--seed <s>', 'seed, any text', '7')
    .option('--scenes <n>', 'scenes for each of the four tasks', wholeNumber('scenes', 1, 100_000), 40)
    .option('--policy <policy>', 'see run', DEFAULTS.policy)
    .option('--keep', 'continue with the data in the folder instead of starting again', false)
    .action(async (options: { seed: string; scenes: number; policy: string; keep: boolean }, command: Command) => {
      const global = globals(command)
      // The demo has its own folder below the data folder, so that starting afresh never deletes another log.
      const data = join(global.data, 'demo')
      // Reject invalid options before the last demo is deleted.
      await wiringOf({ policy: options.policy })
      if (!options.keep) await rm(data, { recursive: true, force: true })
      const log = logOf(global.log, options.keep)
      const folder = await openDataFolder({ ...global, data, ...log }, { create: true })
      const signal = stopSignal()
      const report = new RunReport({ silent: global.json })
      const sink = startTables(undefined, (message) => report.say(message))
      try {
        const wiring = await wiringOn(folder, global, { policy: options.policy })
        await prepareLog(folder, wiring)
        for (const pair of TASKS) {
          await generate(
            folder,
            {
              ...pair,
              split: 'train',
              variant: 'plain',
              purpose: 'train',
              scenes: options.scenes,
              seed: options.seed,
              group_size: 16,
              round: 0,
            },
            global.json,
            signal,
            wiring.partitions,
          )
        }
        await sink.open(tablesOf(folder))
        await runPipeline({
          folder,
          topology: wiring,
          sinks: [sink],
          only: [],
          until_idle: true,
          expire_pending: false,
          signal,
          onWorkerEvent: (processor, event) => report.workerEvent(processor, event),
          onLag: (lag) => report.lag(lag),
        })
        report.end({ stopped: signal.aborted })
        if (signal.aborted) {
          report.say('stopped before the end; the same command with --keep resumes')
          return
        }
        const trained = await trainTiny(folder, wiring, signal)
        report.say(
          `trained: ${trained.steps} steps on ${trained.groups} groups; the mean answer went from ${trained.from.toFixed(1)} to ${trained.to.toFixed(1)}`,
        )
        while (!signal.aborted && !(await sink.loadOnce(signal)).caught_up);
        const picture = join(data, 'tower.png')
        await savePicture(folder, picture)
        if (global.json) {
          const found = await verify(folder, wiring, {})
          const [fates, rewards] = [await rows(folder, FUNNEL), await rows(folder, REWARDS)]
          const [consumer] = (await rows(folder, CONSUMER)) as unknown[]
          process.stdout.write(`${JSON.stringify({ verify: found, funnel: fates, rewards, consumer, picture })}\n`)
          if (!found.passed) process.exitCode = 1
        } else {
          if (!(await verifyFolder(folder, wiring, { json: false }))) process.exitCode = 1
          await tell(folder, picture)
        }
      } finally {
        await sink.close()
        await folder.close()
      }
    })
}

/** On a broker, each demo gets new topics of its own (a new prefix), unless `--keep` is given. */
function logOf(address: string | undefined, keep: boolean): { log?: string } {
  if (!isKafka(address) || keep) return {}
  const [, hosts = '', prefix = ''] = /^(kafka:\/\/[^/]*)\/?(.*)$/.exec(address) ?? []
  const run = `demo-${new Date().toISOString().replace(/[-:]|\.\d+/g, '')}-${process.pid}`
  return { log: `${hosts}/${prefix === '' ? '' : `${prefix}.`}${run}` }
}

/** Prints the results for a person. */
async function tell({ dir, duckdb_file, log }: DataFolder, picture: string): Promise<void> {
  const say = (text: string) => process.stdout.write(`${text}\n`)
  say('\nEvery sampled completion has one fate:\n')
  await ask(duckdb_file, FUNNEL, 'table', TABLES)
  say(`\n${REWARDS}\n`)
  await ask(duckdb_file, REWARDS, 'table', TABLES)
  say('\nA small trainer has taken its groups from the feed; each has one fate too:\n')
  await ask(duckdb_file, CONSUMER, 'table', TABLES)
  const fromHere = (path: string) => {
    const relation = relative(process.cwd(), path)
    return relation === '' || relation.startsWith('..') ? path : relation
  }
  say(`\nA picture: ${fromHere(picture)}`)
  if (isKafka(log.address)) say(`The log:   ${log.address}`)
  say(`Ask more:  ./plumbline --data ${fromHere(dir)} sql "select * from rewards limit 5"`)
}

async function rows({ duckdb_file }: DataFolder, statement: string): Promise<unknown> {
  let json = ''
  for await (const chunk of answer(duckdb_file, statement, 'json', TABLES)) json += chunk
  return JSON.parse(json)
}
