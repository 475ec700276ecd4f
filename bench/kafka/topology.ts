import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { decodeEvent, encodeEvent } from '../../schemas/wire/codec.ts'
import { appendAll, emittedBy, isRequest, sampledGroups, vocabulary } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { stages } from './stages.ts'
import type { Says, Told } from './topology-process.ts'

const PROGRAM = fileURLToPath(new URL('./topology-process.ts', import.meta.url))

/**
 * Scoring and grouping, compared with decoding their inputs and encoding their outputs. The workers have a process of
 * their own: this one contains all events, which every major garbage collection would scan. Joining is not measured.
 */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const [score, form] = await stages()
  const sampled = await sampledGroups(quick ? 20 : 1_200)
  const scored = await emittedBy(score, sampled)
  const read = [score, form].flatMap(({ inputs }) =>
    [...sampled, ...scored].filter(({ type }) => inputs.some((input) => input.type === type.type)),
  )
  const records = read.map(({ type, event }) => encodeEvent(type, event))
  const emitted = [...scored, ...(await emittedBy(form, [...sampled, ...scored]))]
  const groups = sampled.filter(isRequest).length
  const workers = new Workers()
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
            const address = `kafka://${bootstrap}/topology-${Date.now()}-${turn++}`
            const log = await openKafkaLog({ address })
            await appendAll(log, sampled, [score, form])
            await log.close()
            workers.tell({ address, records: records.length })
            await workers.hear('ready')
          },
          async run() {
            workers.tell('go')
            await workers.hear('done')
            return groups
          },
          finish: () => workers.hear('closed'),
        },
        ceiling: {
          what: 'decode + encode of the same events, without a log',
          run() {
            for (const record of records) decodeEvent(record, vocabulary)
            for (const { type, event } of emitted) encodeEvent(type, event)
            return groups
          },
        },
      },
    ],
    close: () => workers.end(),
  }
}

/** The process with the workers; its messages are handled in their order. */
class Workers {
  // With the flags of `npm run bench:kafka`, which are those of `./plumbline`.
  readonly #child = fork(PROGRAM)
  readonly #ended = once(this.#child, 'exit')
  readonly #said: Says[] = []
  #heard = () => {}

  constructor() {
    this.#child.on('message', (says: Says) => {
      this.#said.push(says)
      this.#heard()
    })
    this.#child.on('exit', () => this.#heard())
  }

  tell(told: Told): void {
    this.#child.send(told)
  }

  async hear(expected: Says): Promise<void> {
    while (this.#said.length === 0) {
      const ended = this.#child.exitCode ?? this.#child.signalCode
      if (ended !== null) throw new Error(`the workers ended with ${ended}`)
      await new Promise<void>((resolve) => {
        this.#heard = resolve
      })
    }
    const says = this.#said.shift()
    if (says !== expected) throw new Error(`expected the workers to say ${expected}, they said ${says}`)
  }

  async end(): Promise<void> {
    this.#child.kill()
    await this.#ended
  }
}
