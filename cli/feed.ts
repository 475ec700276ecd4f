import { once } from 'node:events'
import { type Command, Option } from 'commander'
import { serveHttp } from '../infra/http/http-server.ts'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { prepareLog, wiringOn } from '../pipeline/wiring.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { Feed } from '../sinks/feed/feed.ts'
import { keepNeededTopics } from '../sinks/feed/kept-topics.ts'
import { errorAnswer, feedRoutes } from '../sinks/feed/routes.ts'
import { expectAllowed, type FeedCommandOptions, tlsOf, tokensOf } from './feed-access.ts'
import { feedDoors } from './feed-doors.ts'
import { addFeedToken } from './feed-token.ts'
import { listenAddress, listening } from './listen.ts'
import { globals, stopSignal } from './options.ts'

/** Trainers hold connections open while they wait for groups. */
const MAX_CONNECTIONS = 1_024
const DEFAULT = '127.0.0.1:8470'
/** Enough for the largest file of a model over a slow network; all other bodies have a shorter limit of their own. */
const REQUEST_TIMEOUT_MS = 3_600_000

export function addFeed(command: Command): void {
  command
    .addOption(
      new Option(
        '--listen <host:port>',
        'address to listen on; beyond this machine it needs --tokens; port 0 picks a free one',
      )
        .argParser(listenAddress('listen', DEFAULT))
        .default(listenAddress('listen', DEFAULT)(DEFAULT), DEFAULT),
    )
    .option('--tokens <file>', 'only calls with a token of this file are answered; "plumbline feed token" makes one')
    .option('--tls-cert <file>', 'serve HTTPS with this certificate, and those that lead to its issuer, in PEM')
    .option('--tls-key <file>', 'its private key, in PEM')
    .option('--insecure', 'listen beyond this machine without TLS: who sees the network sees tokens and groups', false)
    .addHelpText(
      'after',
      '\nTrainers connect with Python: docs/training.md. Any HTTP client: docs/feed.md, /openapi.json.\n',
    )
    .action(async (options: FeedCommandOptions, command: Command) => {
      const global = globals(command)
      const { listen } = options
      expectAllowed(options)
      const signal = stopSignal()
      const report = (message: string) => void process.stderr.write(`plumbline: ${message}\n`)
      const [tls, tokens] = [await tlsOf(options), await tokensOf(options, report)]
      const folder = await openDataFolder(global, { create: true })
      try {
        const wiring = await wiringOn(folder, global)
        await prepareLog(folder, wiring)
        const { log, blobs } = folder
        await keepNeededTopics(log, report)
        const feed = new Feed({
          ...{ log, blobs, report },
          ...{ vocabulary: catalogueOf(wiring.events), partitions: wiring.partitions },
        })
        const { doors, close } = feedDoors(folder, wiring, report)
        try {
          const serving = {
            ...listen,
            request_timeout_ms: REQUEST_TIMEOUT_MS,
            ...(tls && { tls }),
            max_connections: MAX_CONNECTIONS,
            errorAnswer,
          }
          const server = await listening(listen, serveHttp(feedRoutes(feed, { tokens, doors }), serving))
          const url = `${tls === undefined ? 'http' : 'https'}://${server.address}`
          process.stdout.write(global.json ? `${JSON.stringify({ url })}\n` : `the feed of ${log.address} at ${url}\n`)
          if (!signal.aborted) await once(signal, 'abort')
          await feed.close()
          await server.close()
        } finally {
          await feed.close()
          await close()
        }
      } finally {
        await folder.close()
      }
    })
  addFeedToken(command)
}
