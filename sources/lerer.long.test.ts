import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { LERER_PROMPT } from '../environments/tower/prompts.ts'
import { plumbline, plumblineOk, sharedFolder, sql } from '../tests/cli/plumbline.ts'

const picture = (shade: number) =>
  sharp({ create: { width: 40, height: 30, channels: 3, background: { r: shade, g: 90, b: 10 } } })

/** Four single-colour pictures, two of each label. */
async function towers(cwd: string, labels: string, name = 'labels.csv'): Promise<string> {
  const dir = join(cwd, 'towers')
  await rm(dir, { recursive: true, force: true })
  await mkdir(join(dir, 'real'), { recursive: true })
  await picture(10).png().toFile(join(dir, 'a.png'))
  await picture(60).jpeg().toFile(join(dir, 'b.jpg'))
  await picture(110).png().toFile(join(dir, 'c.png'))
  await picture(160)
    .png()
    .toFile(join(dir, 'real', 'd.png'))
  await writeFile(join(dir, name), labels)
  return dir
}
const CSV = 'image,label\na.png,stable\nb.jpg,unstable\n\nc.png,Stable\n"real/d.png",falls\n'

test('a folder of photographs becomes scenes with the paper’s prompt, is answered, scored, grouped and verified', async () => {
  const cwd = await sharedFolder()
  const place = { cwd }
  await towers(cwd, CSV)
  const ingest = ['ingest', 'lerer', 'towers', '--group-size', '4', '--json']
  expect(JSON.parse(await plumblineOk(ingest, place))).toMatchObject({ done: 4, already: 0, events: 8 })
  // The same data in another layout adds nothing.
  await towers(cwd, '# label 1: falls\na.png 0\nb.jpg 1\nc.png 0\nreal/d.png 1\n', 'labels.txt')
  const again = await plumblineOk([...ingest, '--one-means', 'unstable'], place)
  expect(JSON.parse(again)).toMatchObject({ done: 0, already: 4 })

  await plumblineOk(['run', '--until-idle', '--policy', 'constant(<answer>Yes</answer>)'], place)
  expect(
    await sql(
      `select dataset, split, task, outcome, reward, count(*) as n, count(advantage) as advantages from rewards group by all order by all`,
      place,
    ),
  ).toEqual([
    {
      dataset: 'lerer',
      split: 'test_external',
      task: 'binary_stability',
      outcome: 'correct',
      reward: 1,
      n: 8,
      advantages: 8,
    },
    {
      dataset: 'lerer',
      split: 'test_external',
      task: 'binary_stability',
      outcome: 'incorrect',
      reward: 0,
      n: 8,
      advantages: 8,
    },
  ])
  const [asked] = await sql<{ prompt: string; blocks: number; n: number; widths: number }>(
    `select any_value(prompt.text) as prompt, max(json_array_length(start."value"->'blocks')) as blocks, count(*) as n, sum(images[1].width) as widths
     from rollout.requested where (start."value"->>'height') is null and (start."value"->>'seed') is null`,
    place,
  )
  expect(asked).toEqual({ prompt: LERER_PROMPT, blocks: 0, n: 4, widths: 160 })
  expect(await plumblineOk(['report', 'rewards'], place)).toContain('binary_stability lerer test_external')
  expect(await plumblineOk(['verify'], place)).toContain('verify: passed')
})

test('scripted policies answer photographs too: the oracle is right, and without noise so is the noisy one', async () => {
  for (const policy of ['oracle', 'noisy-oracle(0)']) {
    const place = { cwd: await sharedFolder() }
    await towers(place.cwd, CSV)
    await plumblineOk(['ingest', 'lerer', 'towers'], place)
    await plumblineOk(['run', '--until-idle', '--policy', policy], place)
    expect(await sql('select outcome, count(*) as n from rewards group by all', place)).toEqual([
      { outcome: 'correct', n: 4 },
    ])
  }
})

test('an error in a folder is reported with its line, and nothing is ingested', async () => {
  const cwd = await sharedFolder()
  const cases: [labels: string, message: string][] = [
    ['image,label\na.png,stable\nx.png,stable\n', 'labels.csv:3: image x.png: there is no such file in towers'],
    [
      'a.png,stable\nb.jpg,wobbly\n',
      'labels.csv:2: label: expected stable or unstable (or 0, 1, yes, no), got "wobbly"',
    ],
    ['a.png,1\n', 'labels.csv:1: label 1: does not show whether 1 means stable'],
    ['a.png,stable\n\nb.jpg\n', 'labels.csv:3: expected image,label, got "b.jpg"'],
    ['a.png,stable\na.png,unstable\n', 'labels.csv:2: a.png has a label already, on line 1'],
    ['labels.csv,stable\n', 'labels.csv:1: image labels.csv: expected .png, .jpg, .jpeg'],
    ['image,label\n', 'labels.csv: expected lines image,label, got none'],
  ]
  for (const [labels, message] of cases) {
    await towers(cwd, labels)
    const { code, stderr } = await plumbline(['ingest', 'lerer', 'towers'], { cwd })
    expect(stderr).toContain(message)
    expect(code).toBe(2)
  }
  const dir = await towers(cwd, CSV)
  await writeFile(join(dir, 'c.png'), 'not a picture')
  expect((await plumbline(['ingest', 'lerer', 'towers'], { cwd })).stderr).toContain(
    'labels.csv:5: image c.png: expected a picture, PNG or JPEG by its first bytes',
  )
  await picture(10).png().toFile(join(dir, 'c.png'))
  expect((await plumbline(['ingest', 'lerer', 'towers'], { cwd })).stderr).toContain(
    'labels.csv:5: expected every picture once, got the pixels of a.png (line 2) again in c.png',
  )
  await rm(join(dir, 'labels.csv'))
  expect((await plumbline(['ingest', 'lerer', 'towers'], { cwd })).stderr).toContain('towers: expected a label file')
  expect((await plumbline(['ingest', 'lerer', 'nowhere'], { cwd })).stderr).toContain('there is no such folder')
})
