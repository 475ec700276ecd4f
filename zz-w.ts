import { append } from './infra/log/conformance/steps.ts'
import { openLmdbLog } from './infra/log/lmdb/lmdb-log.ts'
const log = await openLmdbLog({ dir: process.argv[2] as string, durability: 'survives_kill_only' })
await log.createTopics([{ name: 't', partitions: 1 }])
console.log('ready')
for (let i = 0; ; i++) await append(log, 't', 0, [`value ${i}`])
