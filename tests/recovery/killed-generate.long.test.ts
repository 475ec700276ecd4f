import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eventually, plumblineOk, sharedFolder, start } from '../cli/plumbline.ts'
import { everythingEmitted, readLog, recordsOf } from '../cli/whole-log.ts'

const TOWER = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--seed', '7', '--group-size', '2']
const FOREVER = [...TOWER, '--forever', '--rate', '40']

test('a generate without end that is killed again and again resumes each time: no event twice, none missing', {
  timeout: 600_000,
}, async () => {
  const cwd = await sharedFolder()
  const log = (folder: string) => join(cwd, folder, 'log')
  const scenes = () => readLog(log('killed'), async (held) => (await recordsOf(held, 'tower.scene_presented')).length)

  for (let kill = 1; kill <= 3; kill++) {
    const before = kill === 1 ? 0 : await scenes()
    const running = start(['--data', 'killed', ...FOREVER], { cwd })
    // Some of its commits are made, and others are under way.
    await eventually(async () => (await scenes()) > before + 8 * kill, 120_000)
    running.child.kill('SIGKILL')
    expect(await running.ended).toMatchObject({ signal: 'SIGKILL' })
  }

  const before = await scenes()
  const last = start(['--data', 'killed', '--json', ...FOREVER], { cwd })
  await eventually(async () => (await scenes()) > before + 8, 120_000)
  last.child.kill('SIGINT')
  const { code, stdout, stderr } = await last.ended
  expect(code, stderr).toBe(0)
  const { done, already } = JSON.parse(stdout) as { done: number; already: number }
  expect(already).toBe(before)

  // Nothing but the number of its scenes distinguishes it from one that was never killed, and has an end.
  await plumblineOk(['--data', 'whole', ...TOWER, '--scenes', String(already + done)], { cwd })
  expect(await everythingEmitted(log('killed'))).toEqual(await everythingEmitted(log('whole')))
})

test('a generate without end keeps to its rate, and reports what is missing when no number is given', {
  timeout: 300_000,
}, async () => {
  const cwd = await sharedFolder()
  const running = start([...TOWER, '--forever', '--rate', '2', '--json'], { cwd })
  const log = join(cwd, 'data', 'log')
  const scenes = () => readLog(log, async (held) => (await recordsOf(held, 'tower.scene_presented')).length)
  await eventually(async () => (await scenes()) >= 1, 120_000)
  const [first, began_ms] = [await scenes(), performance.now()]
  await eventually(async () => (await scenes()) >= first + 4, 60_000)
  // Four more scenes after at least three whole waits of half a second.
  expect(performance.now() - began_ms).toBeGreaterThan(1_400)
  running.child.kill('SIGINT')
  expect(await running.ended).toMatchObject({ code: 0 })

  const refused = start(TOWER, { cwd })
  const { code, stderr } = await refused.ended
  expect(code).toBe(2)
  expect(stderr).toContain('name --scenes N, or --forever')
})
