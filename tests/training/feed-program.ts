import { readFileSync, rmSync } from 'node:fs'
import { feedDoors } from '../../cli/feed-doors.ts'
import { serveHttp } from '../../infra/http/http-server.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog, wiringOn } from '../../pipeline/wiring.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { TokenFile } from '../../sinks/feed/access/tokens.ts'
import { Feed } from '../../sinks/feed/feed.ts'
import { errorAnswer, feedRoutes } from '../../sinks/feed/routes.ts'

/**
 * A feed that kills itself at the stage of a commit that a file names: feed-program.ts DATA LOG PORT FILE [TOKENS]. With
 * tokens it takes models too.
 */
const [, , data = '', log = '', port = '', order = '', token_file] = process.argv
const report = (message: string) => void process.stderr.write(`${message}\n`)

const global = { data, ...(log === '' ? {} : { log }), shared: false }
const folder = await openDataFolder(global, { create: true })
const wiring = await wiringOn(folder, {})
await prepareLog(folder, wiring)
const feed = new Feed({
  ...{ log: folder.log, blobs: folder.blobs },
  ...{ vocabulary: catalogueOf(wiring.events), partitions: wiring.partitions },
  report,
  observe: (stage) => {
    try {
      const wanted = JSON.parse(readFileSync(order, 'utf8')) as { who: string; when: string }
      if (wanted.who !== 'feed' || wanted.when !== stage) return
    } catch {
      return
    }
    rmSync(order)
    process.kill(process.pid, 'SIGKILL')
  },
})
const tokens = token_file === undefined ? undefined : await TokenFile.open(token_file, { report })
const { doors } = feedDoors(folder, wiring, report)
const routes = feedRoutes(feed, tokens === undefined ? {} : { tokens, doors })
const server = await serveHttp(routes, { host: '127.0.0.1', port: Number(port), errorAnswer })
process.stdout.write(`${JSON.stringify({ url: `http://${server.address}` })}\n`)
