import { beforeEach, expect, test } from 'vitest'
import { memoryLog } from '../../log/memory/memory-log.ts'
import type { Log } from '../../log/port/log.ts'
import type { RecordedTopology } from '../internal/internal-topics.ts'
import { claimTopology, TopologyMismatchError, topicsOf } from './topics.ts'

const PROCESSOR = { name: 'count', inputs: ['test.added'], state_version: 2 }
const TOPOLOGY: RecordedTopology = { fingerprint: 'a', partitions: 4, processors: [PROCESSOR] }
let log: Log

beforeEach(async () => {
  log = memoryLog()
  await log.createTopics(topicsOf([], [], 1))
  await claimTopology(log, TOPOLOGY)
})

test.each([
  ['another partition count', { partitions: 8 }, /its topics have 4 partitions, the topology wants 8/],
  [
    'other inputs of a processor',
    { processors: [{ ...PROCESSOR, inputs: ['test.doubled'] }] },
    /count has state made from test\.added, it now reads test\.doubled/,
  ],
  [
    'a state older than the stored one',
    { processors: [{ ...PROCESSOR, state_version: 1 }] },
    /count has state of version 2, this program knows 1/,
  ],
])('a topology with %s cannot resume the state, and says why and what to do', async (_name, change, message) => {
  const claim = claimTopology(log, { ...TOPOLOGY, fingerprint: 'b', ...change })
  await expect(claim).rejects.toThrow(TopologyMismatchError)
  await expect(claim).rejects.toThrow(message)
  await expect(claim).rejects.toThrow(/replay the log into a new folder/)
})

test('a topology with a new processor, or a newer state, resumes the state', async () => {
  const added = { name: 'other', inputs: ['test.counted'], state_version: 1 }
  await claimTopology(log, { ...TOPOLOGY, fingerprint: 'b', processors: [{ ...PROCESSOR, state_version: 3 }, added] })
  await expect(claimTopology(log, TOPOLOGY)).rejects.toThrow(/state of version 3, this program knows 2/)
})

test('a processor that reads one more event takes its state over, and then cannot do without that event', async () => {
  const more = { ...PROCESSOR, inputs: ['test.doubled', 'test.added'] }
  await claimTopology(log, { ...TOPOLOGY, fingerprint: 'b', processors: [more] })
  await expect(claimTopology(log, TOPOLOGY)).rejects.toThrow(/state made from test\.doubled, test\.added/)
})

test('a processor that the last run left out is still recorded', async () => {
  await claimTopology(log, { ...TOPOLOGY, fingerprint: 'b', processors: [] })
  const older = { ...TOPOLOGY, fingerprint: 'c', processors: [{ ...PROCESSOR, state_version: 1 }] }
  await expect(claimTopology(log, older)).rejects.toThrow(TopologyMismatchError)
})

test('two programs may claim concurrently', async () => {
  const claims = [
    claimTopology(log, { ...TOPOLOGY, fingerprint: 'b' }),
    claimTopology(log, { ...TOPOLOGY, fingerprint: 'b' }),
  ]
  await expect(Promise.all(claims)).resolves.toBeDefined()
})

test('a processor without the broadcast state that it had goes on, and one that makes it of less does not', async () => {
  const inputs = ['test.added', 'test.published', 'test.activated']
  const broadcast_inputs = inputs.slice(1)
  const had = { ...PROCESSOR, inputs, broadcast_version: 1, broadcast_inputs }
  await claimTopology(log, { ...TOPOLOGY, fingerprint: 'b', processors: [had] })
  const less = { ...had, inputs: inputs.slice(0, 2), broadcast_inputs: broadcast_inputs.slice(0, 1) }
  const claim = claimTopology(log, { ...TOPOLOGY, fingerprint: 'c', processors: [less] })
  await expect(claim).rejects.toThrow(/state made from test\.added, test\.published, test\.activated/)
  await claimTopology(log, TOPOLOGY)
  await claimTopology(log, { ...TOPOLOGY, fingerprint: 'd', processors: [had] })
})
