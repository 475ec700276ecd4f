import { readFile, writeFile } from 'node:fs/promises'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import { readRange } from '../infra/runtime/internal/json-records.ts'

/** A whole small log in one file of JSON lines, so that a test can use a log that an earlier release wrote. */

interface Line extends Pick<LogRecord, 'topic' | 'partition' | 'key' | 'headers'> {
  readonly partitions: number
  readonly value_base64: string | null
}

export async function writeLogFile(log: Log, file: string): Promise<void> {
  const lines: string[] = []
  for (const { name, partitions } of await log.topics()) {
    for (let partition = 0; partition < partitions; partition++) {
      for await (const { key, headers, value } of readRange(log, name, partition, 0n)) {
        const value_base64 = value === null ? null : Buffer.from(value).toString('base64')
        const line: Line = { topic: name, partition, partitions, key, headers, value_base64 }
        lines.push(JSON.stringify(line))
      }
    }
  }
  await writeFile(file, `${lines.join('\n')}\n`)
}

/** Creates the file's topics in a log and appends all records of the file. */
export async function readLogFile(log: Log, file: string): Promise<void> {
  const lines = (await readFile(file, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
  const topics = new Map(lines.map(({ topic, partitions }) => [topic, { name: topic, partitions }]))
  await log.createTopics([...topics.values()])
  const producer = await log.producer({ transactional_id: 'log-file' })
  const transaction = producer.begin()
  for (const { topic, partition, key, headers, value_base64 } of lines) {
    const value = value_base64 === null ? null : Buffer.from(value_base64, 'base64')
    transaction.append(topic, partition, { key, headers, value })
  }
  await transaction.commit()
  await producer.close()
}
