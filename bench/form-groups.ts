import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { NewRecord } from '../infra/log/port/log.ts'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import { completionsScored } from '../schemas/events/tower.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import type { OpenBench } from './pairs.ts'
import { emittedBy, sampledGroups } from './tower-log.ts'
import { openWorkBench } from './work.ts'

/** How many groups' outputs the ceiling appends in one transaction; the worker commits every 100 ms. */
const GROUPS_PER_TRANSACTION = 100

/** A worker that joins requests, completions and rewards; the ceiling scans the same records and appends outputs. */
export const open: OpenBench = async ({ quick }) => {
  const processor = formGroups({ dialect: 'paper', scored: [completionsScored] })
  const sampled = await sampledGroups(quick ? 20 : 1_200)
  const events = [...sampled, ...(await emittedBy(scoreCompletions(await paperScorer()), sampled))]
  const inputs = events.filter(({ type }) => processor.inputs.some((input) => input.type === type.type))
  const outputs: NewRecord[] = (await emittedBy(processor, inputs)).map(({ type, event }) => encodeEvent(type, event))
  const topics = processor.inputs.map(({ type }) => type)
  const work = await openWorkBench(processor, inputs)
  const log = await openLmdbLog({ dir: work.copy() })
  await log.createTopics([{ name: 'bench', partitions: 1 }])
  const producer = await log.producer({ transactional_id: 'ceiling' })
  return {
    measures: [
      {
        what: 'form-groups, 16 to a group, transactional',
        unit: 'groups of 16',
        seconds: 'wall',
        goal: 0.5,
        candidate: work.candidate,
        ceiling: {
          what: 'scan + append of the same bytes',
          async run() {
            for (const topic of topics) {
              for (const [partition, end] of (await log.endOffsets(topic)).entries()) {
                for (let from = 0n; from < end; ) {
                  from = (await log.read({ topic, partition, from, max_bytes: 2 ** 20 })).next
                }
              }
            }
            for (let from = 0; from < outputs.length; from += GROUPS_PER_TRANSACTION) {
              const transaction = producer.begin()
              for (const record of outputs.slice(from, from + GROUPS_PER_TRANSACTION)) {
                transaction.append('bench', 0, record)
              }
              await transaction.commit()
            }
            return work.groups
          },
        },
      },
    ],
    async close() {
      await log.close()
      await work.close()
    },
  }
}
