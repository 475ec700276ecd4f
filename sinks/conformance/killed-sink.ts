import { directoryBlobs } from '../../infra/blobs/directory.ts'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import type { SinkDriver } from './driver.ts'

/**
 * Loads a log and kills itself with SIGKILL: `node killed-sink.ts DRIVER FOLDER LOG BLOBS STAGE COUNT`, when a commit
 * reaches STAGE for the COUNT-th time. It prints a line first.
 */
const [name = '', folder = '', dir = '', blobs = '', stage = '', count = ''] = process.argv.slice(2)
let left = Number(count)
const log = await openLmdbLog({ dir, access: 'read' })
const { driver } = (await import(`../${name}/conformance-driver.ts`)) as { readonly driver: SinkDriver }
const sink = await driver.open(folder, {
  log,
  blobs: directoryBlobs(blobs),
  observe: (now) => {
    if (now !== stage) return
    left -= 1
    if (left > 0) return
    process.stdout.write(`killed: ${stage}\n`, () => process.kill(process.pid, 'SIGKILL'))
    return new Promise(() => {}) // the commit goes no further
  },
})
while (!(await sink.loadOnce()).caught_up);
await sink.close()
await log.close()
process.stdout.write('finished\n')
