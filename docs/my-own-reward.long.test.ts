import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { plumblineOk, sharedFolder, sql } from '../tests/cli/plumbline.ts'

/** Follows the page as a reader would: saves its files and runs its commands. */
test('docs/my-own-reward.md works as described, on 10,000 completions', { timeout: 600_000 }, async () => {
  const page = await readFile(new URL('./my-own-reward.md', import.meta.url), 'utf8')
  const cwd = await sharedFolder()
  const printed = new Map<string, string>()
  for (const [, language, name, body = ''] of page.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)) {
    if (name !== undefined) await writeFile(join(cwd, name), body)
    if (language !== 'sh') continue
    for (const line of body.trim().split('\n')) {
      const [program, ...words] = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '')
      expect(program).toBe('./plumbline')
      printed.set(line, await plumblineOk(words, { cwd }))
    }
  }
  expect(printed.size).toBe(10)

  const rows = await sql<{ reward_name: string; n: number; advantages: number }>(
    'select reward_name, count(*) as n, count(advantage) as advantages from rewards group by all order by all',
    { cwd },
  )
  expect(rows).toEqual(['near', 'paper'].map((reward_name) => ({ reward_name, n: 10_000, advantages: 10_000 })))

  // The page's reward function, recomputed in SQL.
  const [wrong] = await sql<{ n: number }>(
    `select count(*) as n from rewards where reward_name = 'near' and abs(reward - case
       when distance_world is null then -1
       else exp(-4 * distance_world) + (outcome = 'stable')::int end) > 1e-12`,
    { cwd },
  )
  expect(wrong?.n).toBe(0)

  const comparison = printed.get('./plumbline report compare near --svg near.svg') ?? ''
  expect(comparison).toMatch(/^near against paper\n/)
  expect(comparison).toMatch(/x_y\s+625\s+10000/)
  const picture = await readFile(join(cwd, 'near.svg'), 'utf8')
  expect(picture).toBe(await readFile(new URL('./rewards/near.svg', import.meta.url), 'utf8'))
  expect(await readFile(join(cwd, 'rewards.svg'), 'utf8')).toContain('near')

  const again = await plumblineOk(
    ['rescore', '--reward', 'near.ts', '--name', 'near', '--dialect', 'paper', '--json'],
    { cwd },
  )
  expect(JSON.parse(again)).toMatchObject({ records: 0, rows: 0 })
  const verified = JSON.parse(await plumblineOk(['verify', '--rescored', '--json'], { cwd }))
  expect(verified).toMatchObject({ passed: true, left_out: [] })
  expect(verified.reports.at(-1)).toMatchObject({ processor: 'rescore-completions near', rebuilt: 625, equal: 625 })
  const { passed, left_out, not_covered } = JSON.parse(await plumblineOk(['verify', '--json'], { cwd }))
  expect([passed, left_out]).toEqual([true, ['near']])
  expect(not_covered.join()).toContain('rescored as near: ')
})
