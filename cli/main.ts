import { type Command, CommanderError } from 'commander'
import { UsageError } from '../pipeline/usage-error.ts'
import { COMMANDS, emptyProgram } from './commands.ts'
import { reportFailure } from './report-failure.ts'

const HELP: ReadonlySet<string> = new Set(['commander.help', 'commander.helpDisplayed', 'commander.version'])
const program = emptyProgram()

for (const command of namedCommands()) await COMMANDS[command.name()]?.load(command)

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader has closed the pipe, as `head` does: a normal exit.
  if (error.code === 'EPIPE') process.exit(0)
  process.exit(
    reportFailure(Object.assign(error, { path: 'standard output' }), program.opts<{ debug: boolean; json: boolean }>()),
  )
})
// If no process reads the errors, the exit code still reports them.
process.stderr.on('error', () => {})

try {
  await program.parseAsync()
} catch (error) {
  const printed = error instanceof CommanderError && HELP.has(error.code)
  if (printed) process.exitCode = error.exitCode === 0 ? 0 : 2
  else process.exitCode = reportFailure(asTyped(error), program.opts<{ debug: boolean; json: boolean }>())
}

/** Turns an error of commander into a UsageError with a remedy. */
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

/** The innermost command that the command line names. */
function commandTyped(): Command {
  let command = program
  for (const word of process.argv.slice(2)) command = command.commands.find((sub) => sub.name() === word) ?? command
  return command
}

function pathOf(command: Command): string {
  return command.parent === null ? '' : `${pathOf(command.parent)}${command.name()} `
}

/** The commands that the command line may name. */
function namedCommands(): readonly Command[] {
  return program.commands.filter((command) => process.argv.includes(command.name(), 2))
}
