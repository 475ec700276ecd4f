import { setTimeout as sleep } from 'node:timers/promises'
import { type KeptTopics, LogDeniedError } from '../port/log.ts'
import { alterTopic, describeTopics, type Setting } from './config-protocol.ts'
import type { Connection } from './connection.ts'

/** With these a broker deletes no record by itself. */
const KEEPING: readonly Setting[] = [
  { name: 'cleanup.policy', value: 'delete' },
  { name: 'retention.ms', value: '-1' },
  { name: 'retention.bytes', value: '-1' },
]

const LOOK_MS = 50
/** Inferred. */
const MOST_LOOKS = 100

/**
 * @param topics with their prefix; those that do not exist are left out
 * @throws LogDeniedError when a topic does not keep its records and this user may not change that
 */
export async function keepTopics(connection: Connection, topics: readonly string[]): Promise<KeptTopics> {
  if (topics.length === 0) return { changed: [] }
  const names = KEEPING.map(({ name }) => name)
  const look = () =>
    connection.attempt('looking at the settings of topics', async () =>
      describeTopics(await connection.any(), topics, names),
    )
  let found: Awaited<ReturnType<typeof describeTopics>>
  try {
    found = await look()
  } catch (error) {
    if (!(error instanceof LogDeniedError)) throw error
    return { changed: [], unknown: error.message }
  }
  const changed: string[] = []
  for (const topic of topics) {
    const settings = found.get(topic)
    if (isKept(settings)) continue
    const was = names.map((name) => `${name}=${settings?.get(name) ?? '?'}`).join(', ')
    try {
      await connection.attempt(`changing the settings of ${connection.shown(topic)}`, async () =>
        alterTopic(await connection.controller(), topic, KEEPING),
      )
    } catch (error) {
      if (!(error instanceof LogDeniedError)) throw error
      throw new LogDeniedError(`${mayLose(connection, topic, was)}. ${error.message}`, { cause: error })
    }
    changed.push(`${connection.shown(topic)} (it had ${was})`)
  }
  // The controller has changed them; brokers hear of it a moment later.
  for (let looks = 0; changed.length > 0 && looks < MOST_LOOKS; looks++) {
    const now = await look()
    if (topics.every((topic) => isKept(now.get(topic)))) break
    await sleep(LOOK_MS)
  }
  return { changed }
}

const isKept = (settings: ReadonlyMap<string, string> | undefined) =>
  KEEPING.every(({ name, value }) => settings?.get(name) === value)

function mayLose({ address }: Connection, topic: string, was: string): string {
  const command = `kafka-configs.sh --bootstrap-server … --alter --topic ${topic} --add-config ${KEEPING.map(({ name, value }) => `${name}=${value}`).join(',')}`
  return `${address.text}: the broker deletes records of ${topic} by itself (${was}), also those that a training consumer has not read. Ask for the right (ACL) AlterConfigs on it, or have an administrator run: ${command}`
}
