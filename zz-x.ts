import { mkdtempSync } from 'node:fs'
import { openLmdbLog } from './infra/log/lmdb/lmdb-log.ts'
import { Processes } from './infra/log/lmdb/processes.ts'
const processes = new Processes(mkdtempSync('/tmp/tm/x-'))
const log = await openLmdbLog({ dir: processes.dir }); await log.createTopics([{ name: 't', partitions: 1 }]); await log.close()
const openers = [1, 2, 3].map(() => processes.start('open often', {}))
await new Promise((r) => setTimeout(r, 20000))
for (const o of openers) console.log(o.errors.slice(0, 600), o.said.at(-1))
process.exit()
