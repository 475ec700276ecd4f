import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log } from '../../infra/log/log.ts'
import { formGroups } from '../../processors/form-groups/form-groups.ts'
import { paperScorer } from '../../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../../processors/score-completions/score-completions.ts'
import { decodeEvent, encodeEvent } from '../../schemas/codec.ts'
import { appendAll, isRequest, saidBy, sampledGroups, vocabulary } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { workUntil } from './work-until.ts'

/** Scoring and grouping, a worker each in one process, against decoding what they read and encoding what they say. */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const [score, form] = [scoreCompletions(await paperScorer()), formGroups({ dialect: 'paper' })]
  const sampled = await sampledGroups(quick ? 20 : 1_200)
  const scored = await saidBy(score, sampled)
  const read = [score, form].map(({ inputs }) =>
    [...sampled, ...scored].filter(({ type }) => inputs.some((input) => input.type === type.type)),
  )
  const records = read.flat().map(({ type, event }) => encodeEvent(type, event))
  const said = [...scored, ...(await saidBy(form, [...sampled, ...scored]))]
  const groups = sampled.filter(isRequest).length
  let log: Log | undefined
  let turn = 0
  return {
    measures: [
      {
        what: 'score-completions and form-groups, end to end on Kafka',
        unit: 'groups of 16',
        seconds: 'wall',
        goal: 0.4,
        candidate: {
          what: 'two workers',
          async prepare() {
            await log?.close()
            log = await openKafkaLog({ address: `kafka://${bootstrap}/topology-${Date.now()}-${turn++}` })
            await appendAll(log, sampled, [score, form])
          },
          async run() {
            const on = log as Log
            await Promise.all(
              [score, form].map((processor, at) => workUntil(on, processor, vocabulary, read[at]?.length ?? 0)),
            )
            return groups
          },
        },
        ceiling: {
          what: 'decode + encode of the same events, without a log',
          run() {
            for (const record of records) decodeEvent(record, vocabulary)
            for (const { type, event } of said) encodeEvent(type, event)
            return groups
          },
        },
      },
    ],
    close: async () => await log?.close(),
  }
}
