import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { readRange } from '../../infra/runtime/internal/json-records.ts'
import { TRAINING_EVENTS } from '../../schemas/events/training.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { plumblineOk } from '../cli/plumbline.ts'

const SCENES = '12'

/** What `demo --json` prints. */
interface Demo {
  readonly verify: { readonly records: object }
  readonly funnel: unknown
  readonly rewards: readonly { readonly reward: number | null }[]
}

/** Without checksums, which only the embedded log has, and the number of internal records, which varies by commits. */
const comparable = ({ verify }: Demo) => ({ ...verify, chunks: null, records: { ...verify.records, records: null } })

/** The last digits of a mean follow from the order in which the rows were loaded, which differs between logs. */
const rounded = (row: Demo['rewards'][number]) => ({ ...row, reward: row.reward?.toFixed(9) })

describe('the demo on a real broker and on the embedded log, the same seed', () => {
  const cwd = mkdtempSync(join(tmpdir(), 'plumbline-same-'))
  const address = `kafka://${inject('kafka')}/same-${process.pid}`
  let kafka: Demo
  let embedded: Demo
  beforeAll(async () => {
    const demo = ['--json', 'demo', '--seed', '7', '--scenes', SCENES]
    embedded = JSON.parse(await plumblineOk(['--data', 'embedded', ...demo], { cwd }))
    // With --keep the address is used unchanged, so that the test knows where to look.
    kafka = JSON.parse(await plumblineOk(['--data', 'kafka', '--log', address, ...demo, '--keep'], { cwd }))
  }, 400_000)
  afterAll(() => rmSync(cwd, { recursive: true, force: true }))

  test('end with the same funnel, rewards and verify result', () => {
    expect(kafka.funnel).toEqual(embedded.funnel)
    expect(kafka.rewards.map(rounded)).toEqual(embedded.rewards.map(rounded))
    expect(comparable(kafka)).toEqual(comparable(embedded))
    expect(kafka.verify).toMatchObject({ passed: true })
  })

  test('hold the same events, byte for byte, in the same partitions', async () => {
    const logs = [
      await openKafkaLog({ address }),
      await openLmdbLog({ dir: join(cwd, 'embedded', 'demo', 'log') }),
    ] as const
    const [there, here] = [await everyEvent(logs[0]), await everyEvent(logs[1])]
    for (const log of logs) await log.close()
    for (const type of ['rollout.group_formed', 'tower.completions_scored', 'tower.scene_presented']) {
      expect(here.get(type)?.length, type).toBe(4 * Number(SCENES))
    }
    expect(new Map([...there].map(([type, emitted]) => [type, emitted.length]))).toEqual(
      new Map([...here].map(([type, emitted]) => [type, emitted.length])),
    )
    // What the feed decides has the wall clock's times, and names the topic's id.
    for (const { type } of TRAINING_EVENTS) for (const log of [there, here]) log.delete(type)
    expect(there).toEqual(here)
  })
})

/** By type, each event's partition, key, headers and bytes; offsets and append times differ between logs. */
async function everyEvent(log: Log): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  const topics = new Map((await log.topics()).map(({ name, partitions }) => [name, partitions]))
  for (const { type } of catalogue) {
    const emitted: string[] = []
    for (let partition = 0; partition < (topics.get(type) ?? 0); partition += 1) {
      for await (const { key, headers, value } of readRange(log, type, partition, 0n)) {
        const bytes = Buffer.from(value ?? []).toString('base64')
        emitted.push(JSON.stringify([partition, key, headers.map(({ name, value }) => [name, value]), bytes]))
      }
    }
    found.set(type, emitted.sort())
  }
  return found
}
