import { expect, test } from 'vitest'
import { commandsOf, typed } from '../testing/page-commands.ts'
import { sharedFolder } from '../tests/cli/plumbline.ts'

test('docs/json-lines.md works as described', { timeout: 240_000 }, async () => {
  const cwd = await sharedFolder()
  const ended = []
  for (const line of await commandsOf('docs/json-lines.md')) ended.push(await typed(line, { cwd }))
  expect(ended.map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual([0, 0, 0, 0, 0, 0])
  const [, , group, count, , lag] = ended
  expect(JSON.parse(group?.stdout ?? '')).toMatchObject({ topic: 'rollout.group_formed', rows: { length: 4 } })
  expect(count?.stdout).toMatch(/^20 /)
  expect(lag?.stdout).toMatch(/^jsonl +0 +0 +0 +0 s$/m)
})
