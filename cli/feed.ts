import { once } from 'node:events'
import type { Command } from 'commander'
import { serveHttp } from '../infra/http/http-server.ts'
import { openDataFolder } from '../pipeline/data-folder.ts'
import type { Listen } from '../pipeline/metrics.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { prepareLog, wiringOn } from '../pipeline/wiring.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { Feed } from '../sinks/feed/feed.ts'
import { errorAnswer, feedRoutes } from '../sinks/feed/routes.ts'
import { listenAddress } from './listen.ts'
import { globals, stopSignal } from './options.ts'

/** Trainers hold connections open while they wait for groups. */
const MAX_CONNECTIONS = 1_024

export function addFeed(command: Command): void {
  command
    .option(
      '--listen <host:port>',
      'address to listen on, of this machine alone; port 0 picks a free one',
      listenAddress('listen', '127.0.0.1:8470'),
      { host: '127.0.0.1', port: 8470 },
    )
    .addHelpText(
      'after',
      '\nTrainers connect with Python: docs/training.md. Any HTTP client: docs/feed.md, /openapi.json.\n',
    )
    .action(async ({ listen }: { listen: Listen }, command: Command) => {
      const global = globals(command)
      if (!/^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(listen.host)) {
        throw new UsageError(
          `--listen ${listen.host}:${listen.port}: expected an address of this machine alone: the feed has no tokens yet`,
          'listen on 127.0.0.1, and let other hosts in through an SSH tunnel: ssh -L 8470:127.0.0.1:8470 this-host',
        )
      }
      const signal = stopSignal()
      const report = (message: string) => void process.stderr.write(`plumbline: ${message}\n`)
      const folder = await openDataFolder(global, { create: true })
      try {
        const wiring = await wiringOn(folder, global)
        await prepareLog(folder, wiring)
        const { log, blobs } = folder
        const feed = new Feed({
          ...{ log, blobs, report },
          ...{ vocabulary: catalogueOf(wiring.events), partitions: wiring.partitions },
        })
        try {
          const options = { ...listen, max_connections: MAX_CONNECTIONS, errorAnswer }
          const server = await serveHttp(feedRoutes(feed), options).catch((cause: unknown) => {
            const problem = cause instanceof Error ? cause.message : String(cause)
            throw new UsageError(`--listen ${listen.host}:${listen.port}: ${problem}`, 'name another port', { cause })
          })
          const url = `http://${server.address}`
          process.stdout.write(global.json ? `${JSON.stringify({ url })}\n` : `the feed of ${log.address} at ${url}\n`)
          if (!signal.aborted) await once(signal, 'abort')
          await feed.close()
          await server.close()
        } finally {
          await feed.close()
        }
      } finally {
        await folder.close()
      }
    })
}
