import { expect, test } from 'vitest'
import { decodeRecord } from '../../infra/runtime/execute/decode-record.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { seedOf } from '../../processors/ask-policy/chat-request.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { DEFAULTS } from '../../streams/topology.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { ChatServer } from '../../testing/chat-server.ts'
import { recordsOf } from '../../testing/counting.ts'
import { eventually, funnel, plumblineOk, sharedFolder, start } from '../cli/plumbline.ts'

const GROUPS = 10
const GROUP_SIZE = 4

async function eventsOf<T>(data: string, topic: string): Promise<T[]> {
  const folder = await openDataFolder({ data }, { create: false })
  try {
    const records = await recordsOf(folder.log, topic)
    const vocabulary = catalogueOf(catalogue)
    return (await Promise.all(
      records.map((record) => decodeRecord(record, vocabulary, DEFAULTS.partitions, folder.blobs)),
    )) as T[]
  } finally {
    await folder.close()
  }
}

const placesOf = (events: readonly Event<typeof completionsSampled>[]) =>
  events.flatMap(({ data }) => data.map((row) => `${row.group_id}/${row.completion_index}`))

test('a run killed three times during calls requests only what is missing, and no completion is duplicated', {
  timeout: 240_000,
}, async () => {
  const cwd = await sharedFolder()
  const place = { cwd, env: { PLUMBLINE_DATA: 'data' } }
  const data = `${cwd}/data`
  const tower = ['--dataset', 'side_block', '--task', 'x_y', '--seed', '7', '--group-size', `${GROUP_SIZE}`]
  await plumblineOk(['generate', 'tower', ...tower, '--scenes', `${GROUPS}`], place)
  const requests = await eventsOf<Event<typeof rolloutRequested>>(data, rolloutRequested.type)
  const placeOf = new Map(
    requests.flatMap(({ data: { group_id, seed } }) =>
      Array.from({ length: GROUP_SIZE }, (_, index) => [seedOf(seed, index), `${group_id}/${index}`] as const),
    ),
  )
  expect(placeOf.size).toBe(GROUPS * GROUP_SIZE)

  // One choice per call, so that each call is one completion, which its seed identifies.
  const chat = await ChatServer.start({ max_n: 1, delay_ms: 60 })
  const run = ['run', '--until-idle', '--policy', `openai(${chat.url}, tiny)`, '--concurrency', '3']
  try {
    let recorded: string[] = []
    for (const calls of [6, 7, 8]) {
      chat.seen.length = 0
      const running = start([...run, '--no-sink'], place)
      await eventually(() => chat.seen.length >= calls, 60_000)
      running.child.kill('SIGKILL')
      expect(await running.ended).toMatchObject({ signal: 'SIGKILL' })
      const asked = chat.seen.map(({ body }) => placeOf.get(body.seed))
      // This run requests nothing that was recorded before it started.
      expect(asked.filter((place) => recorded.includes(place ?? ''))).toEqual([])
      recorded = placesOf(await eventsOf(data, completionsSampled.type))
    }
    expect(recorded.length).toBeGreaterThan(0)
    expect(recorded.length).toBeLessThan(GROUPS * GROUP_SIZE)

    chat.seen.length = 0
    await plumblineOk(run, place)
    const asked = chat.seen.map(({ body }) => placeOf.get(body.seed) ?? '')
    const missing = [...placeOf.values()].filter((place) => !recorded.includes(place))
    expect([...new Set(asked)].sort()).toEqual(missing.sort())
    const emitted = await eventsOf<Event<typeof completionsSampled>>(data, completionsSampled.type)
    expect(placesOf(emitted).sort()).toEqual([...placeOf.values()].sort())
    const attempts = new Set(
      emitted.flatMap(({ data: rows }) => rows.map((row) => `${row.group_id} ${row.attempt_id}`)),
    )
    expect(attempts.size).toBe(GROUPS)
  } finally {
    await chat.stop()
  }
  expect(await funnel(place)).toEqual({ formed: GROUPS * GROUP_SIZE })
  expect(await plumblineOk(['verify'], place)).toBe('verify: passed\n')
})
