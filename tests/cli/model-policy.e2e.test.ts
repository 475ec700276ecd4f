import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tinyDecoder } from '../../testing/tiny-decoder.ts'
import { plumbline, plumblineOk, sharedFolder, sql } from './plumbline.ts'

/** docs/models.md, "A policy", as a user does it. */

function writeModel(folder: string, seed: string): void {
  const { files, manifest } = tinyDecoder(seed, { image: true })
  mkdirSync(folder)
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes)
  const { normalisation, vocabulary, end_token } = manifest
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ normalisation, vocabulary, end_token }))
}

test('requests wait for a model, are answered by each published one in its time, and by another policy after it', {
  timeout: 180_000,
}, async () => {
  const cwd = await sharedFolder()
  const run = (policy: string) => plumbline(['run', '--policy', policy, '--until-idle'], { cwd })
  const generate = (seed: number) =>
    plumblineOk(
      [
        'generate',
        'tower',
        '--dataset',
        'top_block',
        '--task',
        'x_only',
        '--scenes',
        '3',
        '--group-size',
        '4',
        '--seed',
        String(seed),
      ],
      { cwd },
    )
  const add = (folder: string) =>
    plumblineOk(
      [
        'models',
        'add',
        `${folder}/model.onnx`,
        `${folder}/encoder.onnx`,
        '--lineage',
        'tiny',
        '--manifest',
        `${folder}/manifest.json`,
        '--size',
        'length=12',
      ],
      { cwd },
    )
  for (const seed of ['a', 'b']) writeModel(join(cwd, seed), seed)

  await generate(1)
  const waited = await run('onnx(policy)')
  expect([waited.code, waited.stderr]).toEqual([
    0,
    expect.stringMatching(
      /^plumbline: sample-completions: waits for a published model of role policy: .*partitions 0, 1, 2, 3/m,
    ),
  ])
  await add('a')
  expect(await run('onnx(policy)')).toMatchObject({ code: 0 })
  await add('b')
  await generate(2)
  expect(await run('onnx(policy)')).toMatchObject({ code: 0 })
  await generate(3)
  expect(await run('oracle')).toMatchObject({ code: 0 })

  expect(
    await sql(
      'select policy, model_id, token_policy_version[1]::int as version, count(*)::int as n, count(distinct group_id)::int as groups from policy.completions_sampled group by all order by all',
      { cwd },
    ),
  ).toEqual([
    { policy: 'onnx(policy)', model_id: 'tiny@0', version: 0, n: 12, groups: 3 },
    { policy: 'onnx(policy)', model_id: 'tiny@1', version: 1, n: 12, groups: 3 },
    { policy: 'oracle', model_id: null, version: null, n: 12, groups: 3 },
  ])
  const verified = await plumbline(['verify', '--tables'], { cwd })
  expect([verified.code, verified.stdout], verified.stderr).toEqual([0, expect.stringContaining('verify: passed')])
  expect(verified.stderr).toMatch(/sample-completions: 9 events computed again, all equal/)
})

test.each([
  ['onnx(nobody)', /expected a role, one of policy, encoder/],
  ['onnx()', /expected a role/],
])('--policy %s is refused with the roles', async (policy, says) => {
  const cwd = await sharedFolder()
  const ended = await plumbline(['run', '--policy', policy, '--until-idle'], { cwd })
  expect([ended.code, ended.stderr]).toEqual([2, expect.stringMatching(says)])
})
