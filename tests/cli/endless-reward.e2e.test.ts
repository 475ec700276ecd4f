import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eventually, plumblineOk, sharedFolder, start } from './plumbline.ts'

test('Ctrl-C ends a rescore whose reward never returns; nothing of it is written', async () => {
  const cwd = await sharedFolder()
  const tower = ['--dataset', 'side_block', '--task', 'x_y', '--scenes', '3', '--seed', '5', '--group-size', '2']
  await plumblineOk(['generate', 'tower', ...tower], { cwd })
  await plumblineOk(['run', '--until-idle', '--policy', 'oracle'], { cwd })
  const file = `import { writeFileSync } from 'node:fs'
export const version = 1
export function reward() {
  writeFileSync('looping', '')
  for (;;);
}
`
  await writeFile(join(cwd, 'endless.mjs'), file)
  const rescore = [
    'rescore',
    '--reward',
    'endless.mjs',
    '--name',
    'endless',
    '--reward-time-limit',
    '3600',
    '--no-sink',
  ]
  const running = start(rescore, { cwd })
  await eventually(() => existsSync(join(cwd, 'looping')), 60_000)
  running.child.kill('SIGINT')
  const { code, signal } = await running.ended
  expect([code, signal]).toEqual([0, null])
  expect(await plumblineOk(['tail', 'tower.completions_rescored', '--json'], { cwd })).toBe('')
})
