import { resolve } from 'node:path'
import { type Command, Help } from 'commander'
import { UsageError } from '../pipeline/usage-error.ts'
import { addToken } from '../sinks/feed/access/add-token.ts'
import { ROLES, type Role } from '../sinks/feed/access/tokens.ts'
import { globals } from './options.ts'

interface TokenOptions {
  readonly consumers?: readonly string[]
  readonly roles?: readonly string[]
  readonly events?: readonly string[]
  /** Also an option of `feed`, which takes it wherever it stands. */
  readonly tokens?: string
}

const listed = (text: string) => text.split(',').map((one) => one.trim())

export function addFeedToken(feed: Command): void {
  const all = Object.assign(new Help(), { showGlobalOptions: true })
  feed
    .command('token <name>')
    // Without the options of the feed itself.
    .configureHelp({ ...feed.configureHelp(), visibleGlobalOptions: () => all.visibleGlobalOptions(feed) })
    .description('make a token, add its hash to a file, and print the token, once')
    .option('--consumers <names>', 'that it may use, with commas between; eval-* is all that begin so', listed)
    .option('--roles <roles>', `what it may do, with commas between: ${ROLES.join(', ')}`, listed)
    .option(
      '--events <types>',
      'event types that it may publish, with commas between; gameplay.* is all that begin so',
      listed,
    )
    .option('--tokens <file>', 'the file of "plumbline feed --tokens"; made if it is not there')
    .addHelpText(
      'after',
      '\nread: leases, heartbeats, releases, metrics. receipts: subscriptions, runs, steps, receipts, drops, checkpoints.\n' +
        'publish: models, their files, and events of the types in --events. sql: the tables.\n' +
        'A trainer needs read and receipts, and publish for its models.\n',
    )
    .action(async (name: string, _: unknown, command: Command) => {
      const { consumers = [], roles = [], events = [], tokens: file } = command.optsWithGlobals<TokenOptions>()
      if (file === undefined) {
        throw new UsageError(
          '--tokens: expected a file, got none',
          `plumbline feed token ${name} --tokens tokens.json …`,
        )
      }
      const unknown = roles.find((role) => !ROLES.includes(role as Role))
      if (unknown !== undefined || roles.length === 0) {
        const got = unknown === undefined ? 'none' : `"${unknown}"`
        throw new UsageError(`--roles: expected ${ROLES.join(', ')}, got ${got}`, 'e.g. --roles read,receipts')
      }
      const wanted = { name, consumers: [...consumers], roles: roles as Role[], events: [...events] }
      const token = await addToken(file, wanted).catch((cause: unknown) => {
        const problem = cause instanceof Error ? cause.message : String(cause)
        throw new UsageError(`--tokens ${file}: ${problem}`, 'the file was not changed', { cause })
      })
      if (globals(command).json) process.stdout.write(`${JSON.stringify({ name, token })}\n`)
      else {
        process.stdout.write(`${token}\n`)
        process.stderr.write(
          `plumbline: ${resolve(file)} has the hash of this token; the token itself is stored nowhere. Trainers take it from PLUMBLINE_FEED_TOKEN.\n`,
        )
      }
    })
}
