import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import { decodeEvent, encodeEvent } from '../schemas/wire/codec.ts'
import type { OpenBench } from './pairs.ts'
import { emittedBy, sampledGroups, vocabulary } from './tower-log.ts'
import { openWorkBench } from './work.ts'

/** A worker on a log of requests and completions, compared with decoding its inputs and encoding its outputs. */
export const open: OpenBench = async ({ quick }) => {
  const processor = scoreCompletions(await paperScorer())
  const inputs = (await sampledGroups(quick ? 20 : 1_200)).filter(({ type }) =>
    processor.inputs.some((input) => input.type === type.type),
  )
  const outputs = await emittedBy(processor, inputs)
  const records = inputs.map(({ type, event }) => encodeEvent(type, event))
  const work = await openWorkBench(processor, inputs)
  return {
    measures: [
      {
        what: 'score-completions, end to end on the log',
        unit: 'groups of 16',
        seconds: 'wall',
        goal: 0.7,
        candidate: work.candidate,
        ceiling: {
          what: 'decode + encode of the same events',
          run() {
            for (const record of records) decodeEvent(record, vocabulary)
            for (const { type, event } of outputs) encodeEvent(type, event)
            return work.groups
          },
        },
      },
    ],
    close: () => work.close(),
  }
}
