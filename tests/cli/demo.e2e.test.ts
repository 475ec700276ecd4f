import { createHash } from 'node:crypto'
import { join } from 'node:path'
import sharp from 'sharp'
import { beforeAll, expect, test } from 'vitest'
import { type Ended, plumbline, sharedFolder } from './plumbline.ts'

/** Enough for a full row of the picture and every table, small enough for a slow machine. */
const SCENES = '4'
const PICTURE_OF_SEED_7 = '1044x524x3 b9265a7e0fee29eccea1824f1025a128d856d36db75e15ed9f136581d8df0859'

let cwd = ''
let seven: Ended
beforeAll(async () => {
  cwd = await sharedFolder()
  seven = await plumbline(['demo', '--scenes', SCENES], { cwd })
})

async function pixels(file: string): Promise<string> {
  const { data, info } = await sharp(file).removeAlpha().raw().toBuffer({ resolveWithObject: true })
  return `${info.width}x${info.height}x${info.channels} ${createHash('sha256').update(data).digest('hex')}`
}

test('demo prints the funnel and a reward table, verified, and nothing is lost', () => {
  expect(seven, seven.stderr).toMatchObject({ code: 0 })
  expect(seven.stdout).toContain('verify: passed')
  expect(seven.stdout).toMatch(/^formed +256 {2}in a formed group$/m)
  expect(seven.stdout).toMatch(/^lost +0 {2}has no fate: must be 0$/m)
  // Both datasets have four scenes of the task that it trains on.
  expect(seven.stdout).toMatch(/^r1 +1 +8 +0 +0 +0 +8 +0 +0$/m)
  expect(seven.stderr).toMatch(/trained: 1 steps on 8 groups; the mean answer went from 0\.0 to -?\d/)
  expect(seven.stdout).toMatch(/^dataset +task +outcome +n +reward$/m)
  for (const task of [/top_block +binary_stability/, /top_block +x_only/, /side_block +x_only/, /side_block +x_y/])
    expect(seven.stdout).toMatch(task)
  expect(seven.stdout, 'a table of the first screen is cut').not.toContain('…')
  expect(seven.stdout).toContain(`A picture: ${join('data', 'demo', 'tower.png')}`)
  expect(seven.stderr).not.toMatch(/error|undefined|NaN/i)
})

test('the picture is the one of the seed, to the pixel', async () => {
  expect(await pixels(join(cwd, 'data', 'demo', 'tower.png'))).toBe(PICTURE_OF_SEED_7)
})

test('what the demo names as the next thing to type works', async () => {
  const next = /\.\/plumbline (--data \S+) sql "(.+)"$/m.exec(seven.stdout)
  const [, where = '', statement = ''] = next ?? []
  const asked = await plumbline([...where.split(' '), 'sql', statement], { cwd })
  expect(asked, asked.stderr).toMatchObject({ code: 0 })
  expect(asked.stdout.split('\n')).toHaveLength(2 + 5 + 1)
})

test('the ledger of the run of its trainer has its step, and the run is equal to itself', async () => {
  const asked = (...words: string[]) => plumbline(['--data', join('data', 'demo'), ...words], { cwd })
  const [shown, json, equal, unknown] = await Promise.all([
    asked('ledger', 'demo/r1'),
    asked('--json', 'ledger', 'demo/r1'),
    asked('ledger', 'diff', 'demo/r1', 'demo/r1'),
    asked('ledger', 'demo/r2'),
  ])
  expect(shown, shown.stderr).toMatchObject({ code: 0 })
  expect(shown.stdout).toMatch(/^demo\/r1 +1 +1 +8 +0–7$/m)
  const { epochs, steps } = JSON.parse(json.stdout)
  expect(epochs).toMatchObject([{ consumer: 'demo', run: 'r1', contained_to: 1, without_receipt: 0 }])
  expect(steps).toMatchObject([{ fate: 'contained', step: 1, groups: { length: 8 } }])
  expect(equal).toMatchObject({ code: 0, stdout: 'demo/r1 and demo/r1 are equal: 1 step\n' })
  expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('the nearest: demo/r1') })
})

test('another seed is another picture, and --json leaves nothing but JSON on standard output', async () => {
  const elsewhere = join(cwd, 'eight')
  const { code, stdout, stderr } = await plumbline(
    ['--data', elsewhere, 'demo', '--scenes', SCENES, '--seed', '8', '--json'],
    { cwd },
  )
  expect(code, stderr).toBe(0)
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toMatchObject({
    verify: { passed: true },
    funnel: expect.arrayContaining([
      { fate: 'formed', completions: 256, about: expect.any(String) },
      { fate: 'lost', completions: 0, about: expect.any(String) },
    ]),
    rewards: expect.arrayContaining([expect.objectContaining({ dataset: 'top_block', task: 'x_only' })]),
    consumer: { run: 'r1', groups: 8, durable: 8, lost: 0 },
    picture: join(elsewhere, 'demo', 'tower.png'),
  })
  expect(await pixels(join(elsewhere, 'demo', 'tower.png'))).not.toBe(PICTURE_OF_SEED_7)
})

test('an unknown policy is refused before the last demo is deleted', async () => {
  const refused = await plumbline(['demo', '--policy', 'oracel'], { cwd })
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('oracel')])
  expect(await plumbline(['--data', 'data/demo', 'sql', 'from funnel'], { cwd })).toMatchObject({ code: 0 })
})

test('the audit finds scenes of the training that are asked about again to evaluate', async () => {
  const typed = (...words: string[]) => plumbline(['--data', join('data', 'demo'), ...words], { cwd })
  const audit = await typed('audit', 'leakage', 'demo/r1')
  expect(audit).toMatchObject({ code: 0, stdout: expect.stringContaining('no overlap found') })
  const words = ['--dataset', 'top_block', '--task', 'x_only', '--scenes', '1', '--seed', '7', '--purpose', 'eval']
  expect(await typed('generate', 'tower', ...words)).toMatchObject({ code: 0 })
  expect(await typed('run', '--until-idle')).toMatchObject({ code: 0 })
  const found = await typed('--json', 'audit', 'leakage', 'demo/r1')
  expect(found.code).toBe(1)
  const { eval_groups, leaks } = JSON.parse(found.stdout)
  expect(eval_groups).toBe(1)
  expect(leaks.map(({ by }: { by: string }) => by)).toEqual(['content', 'image', 'start'])
})
