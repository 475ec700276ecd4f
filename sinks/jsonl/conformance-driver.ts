import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { recordAt, type SinkDriver, smallCommits } from '../conformance/driver.ts'
import { fileOf, openJsonlSink, unreadableIn } from './jsonl-sink.ts'
import { readStored } from './positions-file.ts'

export const driver: SinkDriver = {
  name: 'jsonl',
  stages: ['appending', 'appended', 'committed'],
  repeated_event: 'twice',
  open: (folder, opening) => openJsonlSink({ ...smallCommits(opening), dir: join(folder, 'events') }),
  async contents(folder) {
    const dir = join(folder, 'events')
    const stored = await readStored(dir)
    const records: string[] = []
    for (const name of [...catalogue.map(({ type }) => type), DEAD_LETTERS_TOPIC].map(fileOf)) {
      if (!existsSync(join(dir, name))) continue
      // A reader takes what was committed: a killed process may have left more.
      const text = readFileSync(join(dir, name))
        .subarray(0, stored?.lengths.get(name) ?? 0)
        .toString()
      for (const line of text.split('\n').slice(0, -1)) {
        const { topic, partition, offset } = JSON.parse(line) as { topic: string; partition: number; offset: number }
        records.push(recordAt(topic, partition, offset))
      }
    }
    const unreadable = (await unreadableIn(dir)).map((one) => recordAt(one.topic, one.partition, one.offset))
    return { records, unreadable, positions: stored?.positions ?? [] }
  },
}
