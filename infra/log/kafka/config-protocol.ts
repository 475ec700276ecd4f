import type { Broker } from './kafkajs.ts'
import { INCREMENTAL_ALTER_CONFIGS, KafkaProtocolError, send } from './protocol.ts'

/** The settings of topics: DescribeConfigs of kafkajs, and IncrementalAlterConfigs v0 (KIP-339), which it lacks. */

const TOPIC = 2
const SET = 0

export interface Setting {
  readonly name: string
  readonly value: string
}

/** These settings of each topic as they apply, also where the broker's own are used. */
export async function describeTopics(
  broker: Broker,
  topics: readonly string[],
  configNames: readonly string[],
): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
  const { resources } = await broker.describeConfigs({
    resources: topics.map((name) => ({ type: TOPIC, name, configNames })),
  })
  return new Map(
    resources.map(({ resourceName, configEntries }) => {
      return [
        resourceName,
        new Map(configEntries.map(({ configName, configValue }) => [configName, configValue ?? ''])),
      ]
    }),
  )
}

/** Changes these settings of a topic and leaves its others alone. @throws KafkaProtocolError */
export async function alterTopic(broker: Broker, topic: string, settings: readonly Setting[]): Promise<void> {
  const codes = await send(broker, INCREMENTAL_ALTER_CONFIGS, {
    encode: (to) => {
      to.writeInt32(1).writeInt8(TOPIC).writeString(topic).writeInt32(settings.length)
      for (const { name, value } of settings) to.writeString(name).writeInt8(SET).writeString(value)
      to.writeBoolean(false)
    },
    decode: (from) => {
      from.int32()
      return from.array(() => {
        const code = from.int16()
        from.string()
        from.int8()
        from.string()
        return code
      })
    },
  })
  const failed = codes.find((code) => code !== 0)
  if (failed !== undefined) throw new KafkaProtocolError(failed, topic)
}
