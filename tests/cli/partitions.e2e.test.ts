import { expect, test } from 'vitest'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC, journalTopic } from '../../infra/runtime/internal-topics.ts'
import { funnel, plumbline, plumblineOk, sharedFolder, sql } from './plumbline.ts'

const UNEVEN = '3,rollout.group_formed=5,tower.scene_presented=1'
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

test('topics have the partitions that were asked for, by event too; the log remembers them and refuses others', async () => {
  const cwd = await sharedFolder()
  await plumblineOk(['--partitions', UNEVEN, ...GENERATE], { cwd })
  const counts = await countsOf(`${cwd}/data/log`)
  expect(counts.get('rollout.group_formed')).toBe(5)
  expect(counts.get('tower.scene_presented')).toBe(1)
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
  expect((await countsOf(`${cwd}/six/log`)).get('rollout.group_formed')).toBe(6)
  const moved = await rewards(cwd, 'six')
  expect(moved).toHaveLength(12 * 16)
  expect(moved).toEqual(await rewards(cwd, 'data'))
})

test.each([
  ['4,rollout.requested=8', /score-completions joins its inputs by partition: expected equal counts, but .*=?8/],
  ['4,rollout.group_fromed=8', /partitions of rollout\.group_fromed: no such event; there are /],
  ['4,rollout.group_formed', /expected a count, then EVENT=COUNT/],
  ['0', /expected a whole number from 1 to 10000/],
])('--partitions %s is refused with its reason', async (partitions, says) => {
  const ended = await plumbline(['--partitions', partitions, 'topology'], { cwd: await sharedFolder() })
  expect(ended).toMatchObject({ code: 2, stdout: '' })
  expect(ended.stderr).toMatch(says)
})

test('the journals of a whole log go with its partitions', async () => {
  const ended = await plumbline(['--partitions', '6', 'replay', '--to', 'copy'], { cwd: await sharedFolder() })
  expect(ended.code).toBe(2)
  expect(ended.stderr).toMatch(
    /the journals of a whole log count by the partitions that it has\n {2}add --sources-only/,
  )
})
