import { once } from 'node:events'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { serveHttp } from '../infra/http/http-server.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { Feed } from '../sinks/feed/feed.ts'
import { errorAnswer, feedRoutes } from '../sinks/feed/routes.ts'
import { PARTITIONS, vocabulary } from './tower-log.ts'

/** The feed of a log, in a process of its own as in use; ends with its standard input. */
const [dir = '', blobs = ''] = process.argv.slice(2)

const log = await openLmdbLog({ dir })
const report = (message: string) => void process.stderr.write(`${message}\n`)
const feed = new Feed({ log, blobs: directoryBlobs(blobs), vocabulary, partitions: PARTITIONS, report })
const server = await serveHttp(feedRoutes(feed), { host: '127.0.0.1', port: 0, errorAnswer })
process.stdout.write(`http://${server.address}\n`)
process.stdin.resume()
await once(process.stdin, 'end')
await feed.close()
await server.close()
await log.close()
