import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { readLogFile } from '../../testing/log-file.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { plumbline, plumblineOk, sql } from '../cli/plumbline.ts'

/**
 * Written by `generate tower --dataset side_block --task x_y --scenes 3 --seed 5 --group-size 2` and
 * `run --until-idle --policy "recorded(first.jsonl)"` when rollout.requested was v3, rollout.group_formed v1 and the
 * state of form-groups v2. The file answered the first group in full and half of the second.
 */
const RECORDED = fileURLToPath(new URL('./log-v3.jsonl', import.meta.url))
const [FORMED, HALF, ASKED] = [
  '7b275edb346dc298a8d0c7abf9882e4c',
  '805f50a26d90b6d9d6a6a538585a1fc4',
  'fdb67dcd2b37f6a09c2148aaa458f1bb',
] as const

test('a log of requests that each hold a scene is verified and continued: a group that was open forms', async () => {
  const cwd = await temporaryFolder()
  const folder = await openDataFolder({ data: join(cwd, 'data') }, { create: true })
  await readLogFile(folder.log, RECORDED)
  await folder.close()
  await plumblineOk(['verify'], { cwd })

  // Its completions are of one attempt.
  const held = JSON.parse(
    await plumblineOk(['tail', 'policy.completions_sampled', '--key', HALF, '--json'], { cwd }),
  ) as {
    rows: { attempt_id: string }[]
  }
  const rest = [
    [HALF, 1],
    [ASKED, 0],
    [ASKED, 1],
  ].map(([group_id, completion_index]) => {
    const line = { group_id, completion_index, text: `<answer>-290, ${240 + Number(completion_index)}</answer>` }
    const attempt = group_id === HALF ? { attempt_id: held.rows[0]?.attempt_id } : {}
    return `${JSON.stringify({ ...line, ...attempt, time: '2026-03-02T12:00:00Z' })}\n`
  })
  await writeFile(join(cwd, 'rest.jsonl'), rest.join(''))
  const ran = await plumbline(['run', '--until-idle', '--policy', 'recorded(rest.jsonl)'], { cwd })
  expect(ran.code, ran.stderr).toBe(0)
  await plumblineOk(['verify', '--tables'], { cwd })

  const formed = await sql(
    `select group_id, any_value(origin) as origin, any_value(start_id) as start_id, count(*) as n
     from rollout.group_formed group by group_id order by group_id`,
    { cwd },
  )
  expect(formed).toMatchObject([FORMED, HALF, ASKED].map((group_id) => ({ group_id, origin: 'tower', n: 2 })))
  const scenes = await sql(
    `select group_id, start_id from rollout.requested
     join tower.scene_presented on scene_id = start_id and height = (start."value"->>'height')::INTEGER
     where start.declaration = 'tower.scene' and start."version" = 1 and images[1].sha256 = image.sha256
     order by group_id`,
    { cwd },
  )
  expect(scenes).toEqual(formed.map(({ group_id, start_id }) => ({ group_id, start_id })))
})
