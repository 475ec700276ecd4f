/**
 * The tower loop's two stages, a worker each, in a process of their own that runs for all turns: as in `plumbline run`,
 * and with nothing of the benchmark in memory. Given the address of the log, it restores its partitions; told to go, it
 * works until it has committed all records.
 */
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { WorkerEvent } from '../../infra/runtime/work/worker.ts'
import { PARTITIONS, vocabulary } from '../tower-log.ts'
import { gated } from './gated-log.ts'
import { stages } from './stages.ts'
import { strictWorker } from './work-until.ts'

/** The log's address, and how many records all stages read together. */
export type Told = { readonly address: string; readonly records: number } | 'go'
export type Says = 'ready' | 'done' | 'closed'

process.on('disconnect', () => process.exit(1))

const processors = await stages()
let go = () => {}
process.on('message', (told: Told) => {
  if (told === 'go') go()
  else void work(told).catch(failed)
})

async function work({ address, records }: Exclude<Told, 'go'>): Promise<void> {
  const log = await openKafkaLog({ address })
  const gate = gated(log, PARTITIONS)
  go = gate.open
  const stop = new AbortController()
  let taken_up = 0
  let committed = 0
  const heard = (event: WorkerEvent) => {
    if (event.kind === 'restored' && ++taken_up === PARTITIONS * processors.length) say('ready')
    if (event.kind !== 'committed' || stop.signal.aborted) return
    committed += event.records
    if (committed < records) return
    say('done')
    stop.abort()
  }
  await Promise.all(
    processors.map((processor) => strictWorker(gate.log, processor, vocabulary, heard).run(stop.signal)),
  )
  await log.close()
  say('closed')
}

function say(says: Says): void {
  process.send?.(says)
}

function failed(error: Error): never {
  process.stderr.write(`${error.stack}\n`)
  process.exit(1)
}
