import { expect, test } from 'vitest'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC, journalTopic } from '../../infra/runtime/internal/internal-topics.ts'
import { inputsOf } from '../../processors/processor.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { funnel, plumbline, plumblineOk, sharedFolder, sql } from './plumbline.ts'

const { sources, stages } = await topology(DEFAULTS)
const processors = stages.map(({ create, variant }) => create(variant))

/** An event of these emitters that no processor reads: it need not be joined with another by its partition. */
function unreadOf(emitters: readonly { readonly outputs: readonly EventType[] }[]): string {
  const read = new Set(processors.flatMap((processor) => inputsOf(processor)))
  const found = emitters.flatMap(({ outputs }) => outputs).find((type) => !read.has(type))
  if (found === undefined) throw new Error('expected an event that no processor reads')
  return found.type
}

const [DERIVED, PRESENTED] = [unreadOf(processors), unreadOf(sources)]
const UNEVEN = `3,${[`${DERIVED}=5`, `${PRESENTED}=1`].sort().join()}`
const GENERATE = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--scenes', '12', '--seed', '7']

async function countsOf(dir: string): Promise<Map<string, number>> {
  const log = await openLmdbLog({ dir })
  try {
    return new Map((await log.topics()).map(({ name, partitions }) => [name, partitions]))
  } finally {
    await log.close()
  }
}

const rewards = (cwd: string, data: string) =>
  sql('select group_id, completion_index, reward from rewards order by all', { cwd, env: { PLUMBLINE_DATA: data } })

test('topics have the chosen partitions, by event too; the log remembers them and refuses others', async () => {
  const cwd = await sharedFolder()
  await plumblineOk(['--partitions', UNEVEN, ...GENERATE], { cwd })
  const counts = await countsOf(`${cwd}/data/log`)
  expect(counts.get(DERIVED)).toBe(5)
  expect(counts.get(PRESENTED)).toBe(1)
  for (const name of ['rollout.requested', journalTopic('form-groups'), changelogTopic('form-groups')])
    expect(counts.get(name)).toBe(3)
  expect(counts.get(DEAD_LETTERS_TOPIC)).toBe(5)

  await plumblineOk(['run', '--until-idle'], { cwd })
  expect(await funnel({ cwd })).toMatchObject({ formed: 12 * 16 })
  await expect(plumblineOk(['verify'], { cwd })).resolves.toBe('verify: passed\n')

  const other = await plumbline(['--partitions', '6', 'run', '--until-idle'], { cwd })
  expect(other.code).toBe(2)
  expect(other.stderr).toContain(`made with ${UNEVEN}`)
  expect(other.stderr).toContain('replay --sources-only --partitions 6 --to DIR')

  // Follow the remedy that the error names.
  await plumblineOk(['replay', '--sources-only', '--partitions', '6', '--to', 'six'], { cwd })
  await plumblineOk(['--data', 'six', 'run', '--until-idle'], { cwd })
  expect((await countsOf(`${cwd}/six/log`)).get(DERIVED)).toBe(6)
  const moved = await rewards(cwd, 'six')
  expect(moved).toHaveLength(12 * 16)
  expect(moved).toEqual(await rewards(cwd, 'data'))
})

test.each([
  [
    '4,rollout.requested=8',
    /: form-groups joins its inputs by partition: expected equal counts, but .*rollout\.requested has 8/,
  ],
  ['4,rollout.group_fromed=8', /partitions of rollout\.group_fromed: no such event; there are /],
  ['4,rollout.group_formed', /expected a count, then EVENT=COUNT/],
  ['0', /expected a whole number from 1 to 10000/],
])('--partitions %s is refused with its reason', async (partitions, says) => {
  const ended = await plumbline(['--partitions', partitions, 'topology'], { cwd: await sharedFolder() })
  expect(ended).toMatchObject({ code: 2, stdout: '' })
  expect(ended.stderr).toMatch(says)
})

test('a copy of a whole log keeps its partition count, by which its journals count', async () => {
  const ended = await plumbline(['--partitions', '6', 'replay', '--to', 'copy'], { cwd: await sharedFolder() })
  expect(ended.code).toBe(2)
  expect(ended.stderr).toMatch(
    /the journals of a whole log count by the partitions that it has\n {2}add --sources-only/,
  )
})
