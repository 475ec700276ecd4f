import { Command, CommanderError } from 'commander'
import { addDemo } from './demo.ts'
import { addEvents } from './events.ts'
import { addGenerate } from './generate.ts'
import { reportFailure } from './report-failure.ts'
import { addRun } from './run.ts'
import { addSql } from './sql.ts'
import { addTopology } from './topology.ts'
import { addVerify } from './verify.ts'

const FIRST_WALK = `
A first walk:
  ./plumbline demo
  ./plumbline generate tower --dataset side_block --task x_y --scenes 500 --seed 7
  ./plumbline run --until-idle --policy random-legal
  ./plumbline sql "select * from funnel"
  ./plumbline verify
`

const program = new Command('plumbline')
  .description('Interaction data as a log of events: block towers in; rewards, GRPO groups and SQL answers out.')
  .addHelpText('after', FIRST_WALK)
  .option('--data <dir>', 'folder that holds the log, the blobs and the tables', process.env.PLUMBLINE_DATA ?? './data')
  .option('--log <address>', 'lmdb:DIR; the data folder’s own log when left out', process.env.PLUMBLINE_LOG)
  .option('--json', 'results as JSON on standard output', false)
  .option('--debug', 'stack traces', false)
  .showHelpAfterError('(see ./plumbline help COMMAND)')
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })

for (const add of [addDemo, addGenerate, addRun, addSql, addVerify, addTopology, addEvents]) add(program)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else process.exitCode = reportFailure(error, program.opts<{ debug: boolean; json: boolean }>())
}
