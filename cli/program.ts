import { readFileSync } from 'node:fs'
import { Command, CommanderError, Help } from 'commander'
import { addBlobs } from './blobs.ts'
import { addBroker } from './broker.ts'
import { addDemo } from './demo.ts'
import { addDlq } from './dlq.ts'
import { addEvents } from './events.ts'
import { addExport } from './export.ts'
import { addGenerate } from './generate.ts'
import { addIngest } from './ingest.ts'
import { addLag } from './lag.ts'
import { partitionCounts } from './options.ts'
import { addReplay } from './replay.ts'
import { addReport } from './report.ts'
import { reportFailure } from './report-failure.ts'
import { addRescore } from './rescore.ts'
import { addRun } from './run.ts'
import { addSql } from './sql.ts'
import { addTail } from './tail.ts'
import { addTopology } from './topology.ts'
import { UsageError } from './usage-error.ts'
import { addVerify } from './verify.ts'

const FIRST_WALK = `
A first walk:
  ./plumbline demo
  ./plumbline generate tower --dataset side_block --task x_y --scenes 500 --seed 7
  ./plumbline run --until-idle --policy random-legal
  ./plumbline sql "select * from funnel"
  ./plumbline verify
`

const HELP: ReadonlySet<string> = new Set(['commander.help', 'commander.helpDisplayed', 'commander.version'])
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

const program = new Command('plumbline')
  .description('Interaction data as a log of events: block towers in; rewards, GRPO groups and SQL answers out.')
  .addHelpText('after', FIRST_WALK)
  .option('--data <dir>', 'folder that holds the log, the blobs and the tables', process.env.PLUMBLINE_DATA || './data')
  .option(
    '--log <address>',
    'lmdb:DIR or kafka://HOST:PORT[/PREFIX]; the data folder’s own log when left out',
    process.env.PLUMBLINE_LOG || undefined,
  )
  .option(
    '--blobs <url>',
    'of a `blobs serve`; the data folder’s own blobs when left out',
    process.env.PLUMBLINE_BLOBS || undefined,
  )
  .option('--partitions <n>', 'of topics that are made (4; 4,EVENT=8 for one); a log keeps its own', partitionCounts)
  .option('--json', 'results as JSON on standard output', false)
  .option('--debug', 'stack traces', false)
  .version(version, '--version', 'the version of this program')
  .exitOverride()
  // Everything that went wrong is told in one way, by `reportFailure`.
  .configureOutput({ outputError: () => {} })
  .configureHelp({
    showGlobalOptions: true,
    optionDescription: (option) =>
      option.defaultValue === false ? option.description : new Help().optionDescription(option),
  })

for (const add of [
  addDemo,
  addGenerate,
  addIngest,
  addRun,
  addSql,
  addVerify,
  addRescore,
  addReport,
  addTopology,
  addEvents,
  addTail,
  addLag,
  addDlq,
  addReplay,
  addExport,
  addBlobs,
  addBroker,
])
  add(program)

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever reads has had enough, as `head` has: an ordinary end.
  if (error.code === 'EPIPE') process.exit(0)
  process.exit(
    reportFailure(Object.assign(error, { path: 'standard output' }), program.opts<{ debug: boolean; json: boolean }>()),
  )
})
// Nobody reads what goes wrong; the exit code still says it.
process.stderr.on('error', () => {})

try {
  await program.parseAsync()
} catch (error) {
  const printed = error instanceof CommanderError && HELP.has(error.code)
  if (printed) process.exitCode = error.exitCode === 0 ? 0 : 2
  else process.exitCode = reportFailure(asTyped(error), program.opts<{ debug: boolean; json: boolean }>())
}

/** What commander could not make sense of, with what to look at. */
function asTyped(error: unknown): unknown {
  if (!(error instanceof CommanderError)) return error
  const command = commandTyped()
  const unquoted = command.name() === 'sql' && error.code === 'commander.excessArguments'
  return new UsageError(
    error.message.replace(/^error: /, '').replaceAll('\n', ' '),
    unquoted ? 'put the statement in quotes: ./plumbline sql "select …"' : `see ./plumbline ${pathOf(command)}--help`,
    { cause: error },
  )
}

/** The command that the words on the command line lead to. */
function commandTyped(): Command {
  let command = program
  for (const word of process.argv.slice(2)) command = command.commands.find((sub) => sub.name() === word) ?? command
  return command
}

function pathOf(command: Command): string {
  return command.parent === null ? '' : `${pathOf(command.parent)}${command.name()} `
}
