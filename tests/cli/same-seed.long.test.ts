import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'
import { everythingEmitted, readLog, recordsOf } from './whole-log.ts'

const SCENES = 250
const GENERATE = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--seed', '7', '--group-size', '2']
const all = [...GENERATE, '--scenes', `${SCENES}`]
const RUN = ['run', '--until-idle', '--policy', 'random-legal', '--no-sink']

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
  await plumblineOk(['--data', 'first', ...all], { cwd })
  await plumblineOk(['--data', 'first', ...RUN], { cwd })
})

const log = (folder: string) => join(cwd, folder, 'log')
const scenesIn = (folder: string) =>
  readLog(log(folder), async (held) => (await recordsOf(held, 'tower.scene_presented')).length)

test('the same seed in another folder gives the same events, derived ones too, byte for byte', async () => {
  await plumblineOk(['--data', 'second', ...all], { cwd })
  await plumblineOk(['--data', 'second', ...RUN], { cwd })
  const [first, second] = [await everythingEmitted(log('first')), await everythingEmitted(log('second'))]
  expect(first.filter((emitted) => emitted.startsWith('["rollout.group_formed"'))).toHaveLength(SCENES)
  expect(second).toEqual(first)
})

test('a generate that was killed half-way and rerun has emitted the same events as an undisturbed one', async () => {
  const killed = start(['--data', 'killed', ...all], { cwd })
  await eventually(async () => (await scenesIn('killed')) > 0)
  killed.child.kill('SIGKILL')
  expect(await killed.ended).toMatchObject({ signal: 'SIGKILL' })
  const before = await scenesIn('killed')
  expect(before, 'killed too late to mean anything').toBeLessThan(SCENES)

  const again = await plumbline(['--data', 'killed', ...all], { cwd })
  expect(again.stderr).toContain(`${SCENES - before} scenes, ${before} were there already`)
  const scenesAndRequests = (emitted: string) => /^\["(tower.scene_presented|rollout.requested)"/.test(emitted)
  const expected = (await everythingEmitted(log('first'))).filter(scenesAndRequests)
  expect(expected).toHaveLength(2 * SCENES)
  expect(await everythingEmitted(log('killed'))).toEqual(expected)
})

test('generating twice adds nothing, more scenes add only those', async () => {
  const before = await everythingEmitted(log('first'))
  const again = await plumblineOk(['--data', 'first', '--json', ...all], { cwd })
  expect(JSON.parse(again)).toEqual({ done: 0, already: SCENES, events: 0 })
  expect(await everythingEmitted(log('first'))).toEqual(before)

  const more = await plumblineOk(['--data', 'first', '--json', ...GENERATE, '--scenes', `${SCENES + 3}`], { cwd })
  expect(JSON.parse(more)).toEqual({ done: 3, already: SCENES, events: 6 })
})

test('another seed gives no event that this one gives', async () => {
  await plumblineOk(['--data', 'other', ...GENERATE, '--scenes', '3', '--seed', '8'], { cwd })
  const first = new Set(await everythingEmitted(log('first')))
  const other = await everythingEmitted(log('other'))
  expect(other.length).toBe(6)
  expect(other.filter((emitted) => first.has(emitted))).toEqual([])
})
