import type { Command } from 'commander'
import { DIALECTS } from '../schemas/rollout.ts'
import { openDuckDbSink } from '../sinks/duckdb/sink.ts'
import { recordedCompletions } from '../sources/recorded-completions.ts'
import { runSource } from '../sources/source.ts'
import { DEFAULTS, isRecorded } from '../streams/topology.ts'
import { openDataFolder } from './data-folder.ts'
import { globals, oneOfWords, stopSignal } from './options.ts'
import { prepareLog, runPipeline, wiringOf } from './pipeline.ts'
import { number, Progress } from './progress.ts'
import { RunReport } from './run-report.ts'
import { UsageError } from './usage-error.ts'

interface RunOptions {
  only?: string[]
  policy: string
  dialect: (typeof DIALECTS)[number]
  untilIdle: boolean
  expirePending: boolean
  sink: boolean
}

export function addRun(program: Command): void {
  program
    .command('run')
    .description('run the workers and the DuckDB sink in this process')
    .option(
      '--policy <policy>',
      'oracle, noisy-oracle(σ), random-legal, constant(TEXT) or recorded(FILE.jsonl)',
      DEFAULTS.policy,
    )
    .option(
      '--dialect <name>',
      `how advantages are normalised: ${DIALECTS.join(', ')}`,
      oneOfWords('dialect', DIALECTS),
      DEFAULTS.dialect,
    )
    .option('--only <name...>', 'only these processors')
    .option('--until-idle', 'stop when everything that is there has been processed and loaded', false)
    .option('--expire-pending', 'with --until-idle: then let every open group reach its deadline', false)
    .option('--no-sink', 'do not load into DuckDB')
    .action(async (options: RunOptions, command: Command) => {
      const global = globals(command)
      if (options.expirePending && !options.untilIdle) {
        throw new UsageError('--expire-pending only makes sense at the end of the work', 'add --until-idle')
      }
      const wiring = await wiringOf({ policy: options.policy, dialect: options.dialect })
      const names = wiring.stages.map((stage) => stage.name)
      const unknown = options.only?.find((name) => !names.includes(name))
      if (unknown !== undefined)
        throw new UsageError(`--only ${unknown}: no such processor`, `there are ${names.join(', ')}`)

      const recording = isRecorded(options.policy) ? await recordedCompletions(options.policy) : undefined

      const folder = await openDataFolder(global, { create: true })
      const signal = stopSignal()
      const report = new RunReport({ silent: global.json })
      try {
        await prepareLog(folder, wiring)
        if (recording !== undefined) {
          const progress = new Progress('recorded completions', { silent: global.json })
          const { log, blobs } = folder
          const { done, already } = await runSource(recording, {
            log,
            blobs,
            partitions: wiring.partitions,
            signal,
            onProgress: (step, steps) => progress.at(step, steps),
          })
          progress.done(
            `${number(done)} parts of groups${already > 0 ? `, ${number(already)} were there already` : ''}`,
          )
        }
        const sink = options.sink
          ? await openDuckDbSink({
              file: folder.duckdb_file,
              log: folder.log,
              catalogue: wiring.events,
              blobs: folder.blobs,
              report: (message) => report.say(message),
            })
          : undefined
        try {
          await runPipeline({
            folder,
            topology: wiring,
            sink,
            only: options.only ?? [],
            until_idle: options.untilIdle,
            expire_pending: options.expirePending,
            signal,
            onWorkerEvent: (processor, event) => report.workerEvent(processor, event),
            onLag: (lag) => report.lag(lag),
          })
        } finally {
          await sink?.close()
        }
        report.end()
        if (global.json) process.stdout.write(`${JSON.stringify(report.totals())}\n`)
      } finally {
        await folder.close()
      }
    })
}
