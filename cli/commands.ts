import { readFileSync } from 'node:fs'
import { Command, Help } from 'commander'
import { keepFilesPrivate } from './file-modes.ts'
import { globals, partitionCounts } from './options.ts'

const FIRST_WALK = `
A first walk:
  ./plumbline demo
  ./plumbline generate tower --dataset side_block --task x_y --scenes 500 --seed 7
  ./plumbline run --until-idle --policy random-legal
  ./plumbline sql "select * from funnel"
  ./plumbline verify
`

/** Commands in the order of the help. A command's module is loaded only when its name is typed. */
export const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  demo: async () => (await import('./demo.ts')).addDemo,
  generate: async () => (await import('./generate.ts')).addGenerate,
  ingest: async () => (await import('./ingest.ts')).addIngest,
  run: async () => (await import('./run.ts')).addRun,
  sql: async () => (await import('./sql.ts')).addSql,
  verify: async () => (await import('./verify.ts')).addVerify,
  rescore: async () => (await import('./rescore.ts')).addRescore,
  report: async () => (await import('./report.ts')).addReport,
  topology: async () => (await import('./topology.ts')).addTopology,
  events: async () => (await import('./events.ts')).addEvents,
  tail: async () => (await import('./tail.ts')).addTail,
  lag: async () => (await import('./lag.ts')).addLag,
  dlq: async () => (await import('./dlq.ts')).addDlq,
  positions: async () => (await import('./positions.ts')).addPositions,
  skip: async () => (await import('./skip.ts')).addSkip,
  repair: async () => (await import('./repair.ts')).addRepair,
  replay: async () => (await import('./replay.ts')).addReplay,
  export: async () => (await import('./export.ts')).addExport,
  blobs: async () => (await import('./blobs.ts')).addBlobs,
  broker: async () => (await import('./broker.ts')).addBroker,
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** The program with the global options and no commands yet. */
export const emptyProgram = () =>
  new Command('plumbline')
    .description('Interaction data as a log of events: block towers in; rewards, GRPO groups and SQL answers out.')
    .addHelpText('after', FIRST_WALK)
    .option(
      '--data <dir>',
      'folder that holds the log, the blobs and the tables',
      process.env.PLUMBLINE_DATA || './data',
    )
    .option(
      '--log <address>',
      'lmdb:DIR or kafka://HOST:PORT[/PREFIX]; the data folder’s own log when left out',
      process.env.PLUMBLINE_LOG || undefined,
    )
    .option(
      '--blobs [url]',
      'of a `blobs serve`, or s3://BUCKET/PREFIX; the data folder’s own blobs when left out. With verify: also read every blob',
      process.env.PLUMBLINE_BLOBS || undefined,
    )
    .option('--partitions <n>', 'of topics that are made (4; 4,EVENT=8 for one); a log keeps its own', partitionCounts)
    .option(
      '--shared',
      'create files with the umask’s permissions, not for this user alone; the data folder remembers it',
      false,
    )
    .option('--json', 'results as JSON on standard output', false)
    .option('--debug', 'stack traces', false)
    .version(version, '--version', 'the version of this program')
    .exitOverride()
    // Commander prints no errors: `reportFailure` reports all of them.
    .configureOutput({ outputError: () => {} })
    .configureHelp({
      showGlobalOptions: true,
      optionDescription: (option) =>
        option.defaultValue === false ? option.description : new Help().optionDescription(option),
    })
    .hook('preAction', (_, command) => keepFilesPrivate(globals(command)))
