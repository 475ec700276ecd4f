import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { serveBlobs } from '../infra/blobs/server.ts'
import { BLOBS_TOKEN, blobFolder } from '../pipeline/blob-stores.ts'
import { makeDataFolder } from '../pipeline/data-folder.ts'
import type { Listen } from '../pipeline/metrics.ts'
import { listenAddress, listening } from './listen.ts'
import { globals, stopSignal } from './options.ts'

export function addBlobs(command: Command): void {
  command
    .command('serve')
    .description('serve the blobs of this data folder over HTTP, for reading and writing')
    .option(
      '--listen <host:port>',
      'address to listen on; port 0 picks a free one',
      listenAddress('listen', '127.0.0.1:8790'),
      {
        host: '127.0.0.1',
        port: 8790,
      },
    )
    .option('--allow-delete', 'let clients delete blobs; by default, a client with the token can only add', false)
    .addHelpText(
      'after',
      `\nThe token is taken from ${BLOBS_TOKEN} in the environment. Without it, a new one is generated and printed.\n` +
        '\nOn the other hosts:\n' +
        `  export ${BLOBS_TOKEN}=…\n  ./plumbline run --log kafka://broker:9092 --blobs http://this-host:8790\n`,
    )
    .action(async ({ listen, allowDelete }: { listen: Listen; allowDelete: boolean }, command: Command) => {
      const global = globals(command)
      makeDataFolder(global)
      const given = process.env[BLOBS_TOKEN]
      const token = given || randomBytes(24).toString('base64url')
      const options = { ...blobFolder(global.data), token, ...listen, allow_delete: allowDelete }
      const server = await listening(listen, serveBlobs(options))
      const shown = given ? {} : { token }
      if (global.json) process.stdout.write(`${JSON.stringify({ url: `http://${server.address}`, ...shown })}\n`)
      else {
        if (!given) process.stdout.write(`export ${BLOBS_TOKEN}=${token}\n`)
        process.stdout.write(`blobs of ${resolve(global.data)} at http://${server.address}\n`)
      }
      const stop = stopSignal()
      if (!stop.aborted) await once(stop, 'abort')
      await server.close()
    })
}
