/**
 * The tower loop's two stages, a worker each, in a process of their own that stays for all turns: as in `plumbline run`,
 * and with nothing in memory that belongs to the benchmark. Told where the records are, it takes up its partitions; told
 * to go, it works until it has committed them all.
 */
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { Worker } from '../../infra/runtime/worker.ts'
import { noBlobs, PARTITIONS, vocabulary } from '../tower-log.ts'
import { gated } from './gated-log.ts'
import { stages } from './stages.ts'

export type Told = { readonly address: string; readonly records: readonly number[] } | 'go'
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
  let taken_up = 0
  let working = processors.length
  const stop = new AbortController()
  const running = processors.map(async (processor, at) => {
    let committed = 0
    const worker = new Worker({
      log: gate.log,
      blobs: noBlobs,
      processor,
      vocabulary,
      partitions: PARTITIONS,
      instance: 'bench',
      onEvent(event) {
        if (event.kind === 'retrying') failed(event.error)
        if (event.kind === 'restored' && ++taken_up === PARTITIONS * processors.length) say('ready')
        if (event.kind !== 'committed') return
        if (event.dead_letters > 0) failed(new Error(`${processor.name}: ${event.dead_letters} dead letters`))
        const before = committed
        committed += event.records
        const wanted = records[at] ?? 0
        if (before >= wanted || committed < wanted || --working > 0) return
        say('done')
        stop.abort()
      },
    })
    await worker.run(stop.signal)
  })
  await Promise.all(running)
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
