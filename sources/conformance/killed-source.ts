import { join } from 'node:path'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { runSource } from '../run-source.ts'
import { PARTITIONS } from './driver.ts'
import { DRIVERS } from './drivers.ts'
import { Sender } from './sender.ts'

/**
 * Appends two steps at a time and kills itself with SIGKILL when its second commit reaches STAGE:
 * `node killed-source.ts DRIVER FOLDER LOG STAGE CONFIRMED`. It prints what was confirmed, and a last line.
 */
const [name = '', folder = '', dir = '', stage = '', confirmed = '[]'] = process.argv.slice(2)
const driver = DRIVERS.find((one) => one.name === name)
if (driver === undefined) throw new Error(`no source is called ${name}`)
let left = 2
const log = await openLmdbLog({ dir })
const blobs = directoryBlobs(join(folder, 'blobs'))
const source = await driver.open({ folder, blobs })
const sender = new Sender((id) => process.stdout.write(`confirmed ${id}\n`))
for (const id of JSON.parse(confirmed) as string[]) sender.confirmed.add(id)
sender.handIn(driver, source)
const pace = { permit: async () => 2, taken: () => {} }
await runSource(source, {
  ...{ log, blobs, partitions: PARTITIONS, pace },
  observe: (now) => {
    if (now !== stage) return
    left -= 1
    if (left > 0) return
    process.stdout.write(`killed: ${stage}\n`, () => process.kill(process.pid, 'SIGKILL'))
    return new Promise(() => {}) // it goes no further
  },
})
await log.close()
process.stdout.write('finished\n')
