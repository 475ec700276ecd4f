import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { appendGroups } from '../feed-groups.ts'
import type { OpenKafkaBench } from './broker-bench.ts'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const COMPLETIONS = 16
const TOKENS = 256
const BATCH = 32
const STEPS_PER_CHECKPOINT = 8

/** A trainer over Kafka, with its steps and checkpoints, compared with a bare consumer that decodes the same records. */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const groups = quick ? BATCH : 1_024
  const address = `kafka://${bootstrap}/training-${process.pid}`
  const log = await openKafkaLog({ address })
  // The columns of so few tokens are in the records.
  const put = () => Promise.reject(new Error('expected no column of more than 64 KiB'))
  await appendGroups(log, { put }, groups, COMPLETIONS, TOKENS)
  await log.close()
  const client = spawn(at('../../.venv/bin/python'), ['-u', at('./training-client.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, PYTHONPATH: at('../../python') },
  })
  const answers = createInterface({ input: client.stdout })[Symbol.asyncIterator]()
  const ask = async (...words: readonly (string | number)[]): Promise<string> => {
    client.stdin.write(`${words.join(' ')}\n`)
    const { value, done } = await answers.next()
    if (done) throw new Error(`the trainer ended at: ${words.join(' ')}`)
    return value
  }
  const read = async () => {
    const rows = Number(await ask('read', groups))
    if (rows !== groups * COMPLETIONS) throw new Error(`expected ${groups * COMPLETIONS} completions, got ${rows}`)
    return groups
  }
  const finish = async () => void (await ask('close'))
  let turn = 0
  return {
    measures: [
      {
        what: `Kafka to a Python trainer: groups of ${COMPLETIONS} completions of ${TOKENS} tokens, steps of ${BATCH}, a checkpoint every ${STEPS_PER_CHECKPOINT}`,
        unit: 'groups',
        seconds: 'wall',
        goal: 0.7,
        candidate: {
          what: 'with steps, receipts and checkpoints',
          prepare: async () => void (await ask('groups', address, `bench-${turn++}`, BATCH, STEPS_PER_CHECKPOINT)),
          run: read,
          finish,
        },
        ceiling: {
          what: 'a bare consumer of confluent-kafka, decoded by pyarrow',
          prepare: async () => void (await ask('bare', address)),
          run: read,
          finish,
        },
      },
    ],
    async close() {
      client.stdin.end()
      await once(client, 'exit')
    },
  }
}
