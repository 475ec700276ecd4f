import { expect, test } from 'vitest'
import { plumbline, plumblineOk, sharedFolder } from './plumbline.ts'

const LIMIT = { timeout: 300_000 }

test(
  'retain tells what would go and what holds the rest, deletes it when asked to, and verify passes',
  LIMIT,
  async () => {
    const cwd = await sharedFolder()
    const generate = (seed: string) =>
      `generate tower --dataset side_block --task x_y --scenes 6 --group-size 4 --seed ${seed}`.split(' ')
    await plumblineOk(generate('1'), { cwd })
    await plumblineOk(['run', '--until-idle'], { cwd })
    await plumblineOk(generate('2'), { cwd })
    const report = async (...more: readonly string[]) =>
      JSON.parse(await plumblineOk(['--json', 'retain', '--older-than', '0', ...more], { cwd })) as {
        readonly deleted: boolean
        readonly partitions: readonly { readonly topic: string; readonly records: number }[]
      }
    const recordsOf = ({ partitions }: Awaited<ReturnType<typeof report>>, topic: string) =>
      partitions.filter((one) => one.topic === topic).reduce((sum, { records }) => sum + records, 0)

    const told = await plumblineOk(['retain', '--older-than', '0'], { cwd })
    expect(told).toMatch(/rollout\.requested +6 /)
    expect(told).toMatch(/rollout\.requested: the processor form-groups has not read them: \.\/plumbline run/)
    expect(told).toMatch(/the sink duckdb has not loaded them/)
    expect(told).toMatch(/nothing was deleted: add --delete\n$/)
    expect(recordsOf(await report('--older-than', '1'), 'rollout.requested')).toBe(0)
    const deleted = await report('--delete')
    expect([recordsOf(deleted, 'rollout.requested'), recordsOf(deleted, 'rollout.group_formed')]).toEqual([6, 6])
    expect((await report()).partitions.every(({ records }) => records === 0)).toBe(true)

    // What was held is worked on as if nothing had gone.
    await plumblineOk(['run', '--until-idle'], { cwd })
    const verified = await plumbline(['verify', '--tables'], { cwd })
    expect(`${verified.stdout}${verified.stderr}`).toMatch(
      /unverifiable: cause expired: retention removed rollout\.requested/,
    )
    expect(verified.code).toBe(0)
    expect(recordsOf(await report('--delete'), 'rollout.group_formed')).toBe(6)
  },
)

test('retain refuses a reader that is not there, and names those that are', LIMIT, async () => {
  const cwd = await sharedFolder()
  await plumblineOk(['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--scenes', '1', '--seed', '1'], {
    cwd,
  })
  const { code, stderr } = await plumbline(['retain', '--older-than', '1', '--past', 'nobody'], { cwd })
  expect(code).toBe(2)
  expect(stderr).toMatch(/--past nobody: there is no such reader.*there are .*form-groups/s)
})
