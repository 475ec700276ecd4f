import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { verifyFolder } from '../../cli/verify.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { decodeEvent } from '../../schemas/wire/codec.ts'
import { wouldRefuseToday } from '../../schemas/wire/validation.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { vocabulary } from '../../streams/vocabulary.ts'
import { readLogFile } from '../../testing/log-file.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { recordsOf } from '../cli/whole-log.ts'

/**
 * Written by the release before bounds and row keys: `generate tower --dataset side_block --task x_y --scenes 3
 * --seed 1 --group-size 2 --partitions 1`, then `run --until-idle --expire-pending --policy "recorded(FILE)"`. In FILE
 * one group has index 0 twice in one event, another has index 1 twice and also index 7. Each has index 1 or 0 again in
 * a separate event, one of them with `max_tokens` 2³¹−1 and `top_p` 2.5. The third group expired.
 */
const RECORDED = fileURLToPath(new URL('./log-before-bounds.jsonl', import.meta.url))

test('a log recorded before bounds and row keys verifies unchanged, duplicates and numbers out of bounds included', async () => {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  const wiring = await topology({ ...DEFAULTS, policy: 'recorded(FILE.jsonl)', partitions: 1 })
  await readLogFile(folder.log, RECORDED)
  await prepareLog(folder, wiring)
  expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)

  const refusals: string[] = []
  for (const { type } of wiring.events) {
    for (const record of await recordsOf(folder.log, type)) {
      const event = decodeEvent(record, vocabulary)
      const refusal = wouldRefuseToday(vocabulary.get(type) as EventType, event)
      if (refusal !== undefined) refusals.push(refusal)
    }
  }
  const twice = 'expected each sampled_id, completion_index once in an event, row 0 has it too'
  expect(refusals).toEqual([
    expect.stringContaining(
      'row 1 completion_index 0: expected each completion_index once in an event, row 0 has it too',
    ),
    expect.stringContaining(
      'row 1 completion_index 1: expected each completion_index once in an event, row 0 has it too',
    ),
    expect.stringMatching(/^policy\.completions_sampled v1: row 0 field (top_p|max_tokens): expected /),
    expect.stringContaining(twice),
    expect.stringContaining(twice),
  ])
  expect(await recordsOf(folder.log, completionsSampled.type)).toHaveLength(4)
  await folder.close()
})
