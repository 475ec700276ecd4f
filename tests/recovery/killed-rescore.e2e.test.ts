import { cp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openLogForReading } from '../../pipeline/data-folder.ts'
import { completionsRescored } from '../../schemas/events/reward.ts'
import { eventually, plumblineOk, sharedFolder, sql, start } from '../cli/plumbline.ts'
import { everythingEmitted, idOf, recordsOf } from '../cli/whole-log.ts'

const SCENES = 40
const GROUP_SIZE = 4
/** Slow enough to be killed between two partitions. */
const REWARD = `export const version = 1
const pause = new Int32Array(new SharedArrayBuffer(4))
export function slow({ outcome, distance_world }) {
  Atomics.wait(pause, 0, 0, 8)
  return outcome === 'stable' ? 1 - distance_world : 0
}
`

test('a rescore killed three times and run again has the same rows as an undisturbed one, none twice', {
  timeout: 600_000,
}, async () => {
  const cwd = await sharedFolder()
  const tower = ['--dataset', 'side_block', '--task', 'x_y', '--scenes', `${SCENES}`, '--seed', '5']
  await plumblineOk(['generate', 'tower', ...tower, '--group-size', `${GROUP_SIZE}`], { cwd })
  await plumblineOk(['run', '--until-idle', '--policy', 'random-legal'], { cwd })
  await cp(join(cwd, 'data'), join(cwd, 'undisturbed'), { recursive: true })
  await writeFile(join(cwd, 'slow.mjs'), REWARD)
  const rescore = ['rescore', '--reward', 'slow.mjs', '--name', 'slow']

  const rescored = async (data: string) => {
    const log = await openLogForReading({ data: join(cwd, data) })
    try {
      return await recordsOf(log, completionsRescored.type)
    } finally {
      await log.close()
    }
  }
  for (let kill = 1, before = 0; kill <= 3; kill++) {
    const running = start(rescore, { cwd })
    await eventually(async () => (await rescored('data')).length > before, 60_000)
    running.child.kill('SIGKILL')
    expect((await running.ended).signal).toBe('SIGKILL')
    before = (await rescored('data')).length
    // It commits one partition at a time: the current one is lost, so work is left.
    expect(before).toBeLessThan(SCENES)
  }
  await plumblineOk(rescore, { cwd })
  await plumblineOk(['--data', 'undisturbed', ...rescore], { cwd })

  const ids = (await rescored('data')).map(idOf)
  expect([ids.length, new Set(ids).size]).toEqual([SCENES, SCENES])
  const emitted = async (data: string) =>
    (await everythingEmitted(join(cwd, data, 'log'))).filter((text) =>
      text.startsWith(`["${completionsRescored.type}"`),
    )
  expect(await emitted('data')).toEqual(await emitted('undisturbed'))
  const rows = 'select count(*) as n, count(distinct (ce_id, "row")) as different from tower.completions_rescored'
  const all = SCENES * GROUP_SIZE
  expect(await sql<{ n: number; different: number }>(rows, { cwd })).toEqual([{ n: all, different: all }])
})
