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

interface CommandEntry {
  /** What follows its name in the help: `[options] <statement>`. */
  readonly usage: string
  readonly about: string
  /** Adds options, subcommands and the action. */
  readonly load: (command: Command) => Promise<void>
}

/** In the order of the help, which is printed from here alone: a command's module is loaded when its name is typed. */
export const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  demo: {
    usage: '[options]',
    about:
      'the whole pipeline on a small example: scenes, completions, physics, rewards, groups, tables, an SQL answer',
    load: async (command) => (await import('./demo.ts')).addDemo(command),
  },
  generate: {
    usage: '',
    about: 'append new events to the log',
    load: async (command) => (await import('./generate.ts')).addGenerate(command),
  },
  ingest: {
    usage: '',
    about: 'append what was recorded elsewhere to the log',
    load: async (command) => (await import('./ingest.ts')).addIngest(command),
  },
  run: {
    usage: '[options]',
    about: 'run the workers and sinks in this process, and the DuckDB sink in one of its own',
    load: async (command) => (await import('./run.ts')).addRun(command),
  },
  sql: {
    usage: '[options] <statement>',
    about: 'answer one SQL question, during a `run` or after it',
    load: async (command) => (await import('./sql.ts')).addSql(command),
  },
  feed: {
    usage: '[options]',
    about: 'give groups to trainers over HTTP, and record what they do with each',
    load: async (command) => (await import('./feed.ts')).addFeed(command),
  },
  verify: {
    usage: '[options]',
    about: 'read every record, recompute every derived event and compare; reports the differences',
    load: async (command) => (await import('./verify.ts')).addVerify(command),
  },
  rescore: {
    usage: '[options]',
    about: 'apply another reward function to the recorded completions; its rows are stored next to the earlier ones',
    load: async (command) => (await import('./rescore.ts')).addRescore(command),
  },
  report: {
    usage: '',
    about: 'tables and pictures from the loaded data',
    load: async (command) => (await import('./report.ts')).addReport(command),
  },
  models: {
    usage: '',
    about: 'publish a model, and look at those that are published',
    load: async (command) => (await import('./models.ts')).addModels(command),
  },
  ledger: {
    usage: '[options] <model>',
    about: 'which groups made a model, in which steps, and what was rolled back; where two runs differ',
    load: async (command) => (await import('./ledger.ts')).addLedger(command),
  },
  audit: {
    usage: '',
    about: 'whether a model was trained on what it is evaluated on',
    load: async (command) => (await import('./audit.ts')).addAudit(command),
  },
  topology: {
    usage: '[options]',
    about: 'the data flow: sources, processors, sinks and the events between them',
    load: async (command) => (await import('./topology.ts')).addTopology(command),
  },
  events: {
    usage: '[type]',
    about: 'list the event types; with a type, its fields; with --json, its JSON Schema',
    load: async (command) => (await import('./events.ts')).addEvents(command),
  },
  tail: {
    usage: '[options] <type>',
    about: 'print the events of one type as the log stores them, batches row by row',
    load: async (command) => (await import('./tail.ts')).addTail(command),
  },
  lag: {
    usage: '[options]',
    about: 'the lag of each reader in messages, bytes and event time, per group and partition',
    load: async (command) => (await import('./lag.ts')).addLag(command),
  },
  dlq: {
    usage: '',
    about: 'dead letters: records that a processor could not process',
    load: async (command) => (await import('./dlq.ts')).addDlq(command),
  },
  positions: {
    usage: '',
    about: 'check whether readers can continue in this log, and restart those that cannot',
    load: async (command) => (await import('./positions.ts')).addPositions(command),
  },
  skip: {
    usage: '<place...>',
    about: 'make every reader skip a record that none can read, from now on and in copies of the log',
    load: async (command) => (await import('./skip.ts')).addSkip(command),
  },
  repair: {
    usage: '[options]',
    about: 'copy the intact records of a damaged folder into a new one, and list the others',
    load: async (command) => (await import('./repair.ts')).addRepair(command),
  },
  retain: {
    usage: '[options]',
    about: 'delete old records that no reader and no training consumer needs, and blobs that no record names',
    load: async (command) => (await import('./retain.ts')).addRetain(command),
  },
  replay: {
    usage: '[options]',
    about: 'emit a recorded log again: all of it, so that verify passes on the copy, or its sources only',
    load: async (command) => (await import('./replay.ts')).addReplay(command),
  },
  export: {
    usage: '',
    about: 'write a table for other programs',
    load: async (command) => (await import('./export.ts')).addExport(command),
  },
  blobs: {
    usage: '',
    about: 'pictures and other large data, for hosts that do not share this folder',
    load: async (command) => (await import('./blobs.ts')).addBlobs(command),
  },
  broker: {
    usage: '',
    about: 'a real Apache Kafka on this machine, without containers; needs Java 17 and, once, Maven',
    load: async (command) => (await import('./broker.ts')).addBroker(command),
  },
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

/** The program with the global options and the names of the commands, none of which is loaded yet. */
export function emptyProgram(): Command {
  const program: Command = new Command('plumbline')
    .description('Interaction data as a log of events: block towers in; rewards, GRPO groups and SQL answers out.')
    .addHelpText('after', FIRST_WALK)
    .option('--data <dir>', 'folder of the log, the blobs and the tables', process.env.PLUMBLINE_DATA || './data')
    .option(
      '--log <address>',
      'lmdb:DIR or kafka://HOST:PORT[/PREFIX] (default: the log in the data folder)',
      process.env.PLUMBLINE_LOG || undefined,
    )
    .option(
      '--blobs [url]',
      'URL of a blob server, or s3://BUCKET/PREFIX (default: the blobs in the data folder). For verify: also read every blob',
      process.env.PLUMBLINE_BLOBS || undefined,
    )
    .option(
      '--partitions <n>',
      'partition count of new topics (4; or 4,EVENT=8 for one event); an existing log keeps its own',
      partitionCounts,
    )
    .option(
      '--shared',
      'create files with the permissions of the umask, not only for this user; stored in the data folder',
      false,
    )
    .option('--json', 'print results as JSON', false)
    .option('--debug', 'print stack traces', false)
    .version(version, '--version', 'print the version')
    .exitOverride()
    // Commander prints no errors: `reportFailure` reports all of them.
    .configureOutput({ outputError: () => {} })
    .configureHelp({
      showGlobalOptions: true,
      optionDescription: (option) =>
        option.defaultValue === false ? option.description : new Help().optionDescription(option),
      subcommandTerm: (command) => {
        const entry = command.parent === program ? COMMANDS[command.name()] : undefined
        return entry === undefined ? new Help().subcommandTerm(command) : `${command.name()} ${entry.usage}`
      },
    })
    .hook('preAction', (_, command) => keepFilesPrivate(globals(command)))
  for (const [name, { usage, about }] of Object.entries(COMMANDS)) {
    program.command(`${name} ${usage.replace('[options]', '')}`).description(about)
  }
  return program
}
