import { mkdtempSync } from 'node:fs'
import { append, values } from './infra/log/conformance/steps.ts'
import { openLmdbLog } from './infra/log/lmdb/lmdb-log.ts'
import { Processes } from './infra/log/lmdb/processes.ts'
import { expectSoundFile } from './infra/log/lmdb/sound-file.ts'
const processes = new Processes(mkdtempSync('/tmp/tm/o-'))
const log = await openLmdbLog({ dir: processes.dir, durability: 'survives_kill_only' })
await log.createTopics([{ name: 't', partitions: 1 }])
const openers = [1, 2, 3].map(() => processes.start('open often', {}))
const written: string[] = []
const until = Date.now() + Number(process.argv[2]) * 1000
while (Date.now() < until && openers.every(({ errors }) => errors === '')) {
  const value = `value ${written.length}`
  await append(log, 't', 0, [value])
  written.push(value)
}
for (const o of openers) if (o.errors) console.log(o.errors.slice(0, 400))
console.log('opened', openers.map(({ said }) => said.at(-1)))
try { expectSoundFile(processes.dir); console.log('sound') } catch (e) { console.log('NOT', (e as Error).message) }
const found = await values(log, 't', 0)
console.log('records', found.length, written.length, JSON.stringify(found) === JSON.stringify(written))
console.log(await log.integrity?.())
process.exit(0)
