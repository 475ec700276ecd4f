import { expect, test } from 'vitest'
import { commandsOf, typed } from '../testing/page-commands.ts'
import { sharedFolder } from '../tests/cli/plumbline.ts'

test('docs/verify.md works as described', { timeout: 240_000 }, async () => {
  const cwd = await sharedFolder()
  const ended = []
  for (const line of await commandsOf('docs/verify.md')) ended.push(await typed(line, { cwd }))
  expect(ended.map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual([0, 0, 0, 0, 0])
  const [, , plain, all, json] = ended
  expect(plain?.stdout).toBe('verify: passed\n')
  expect(plain?.stderr).toMatch(/^verify chunks: .* unchecksummed/m)
  expect(plain?.stderr).toMatch(/^verify records: .* read, each of a producer that may emit it/m)
  expect(plain?.stderr).toMatch(/^verify form-groups: 8 events computed again, all equal to the 8 recorded/m)
  expect(plain?.stderr).toMatch(/^verify left out:\n {2}\d+ blobs .*\n {2}the DuckDB tables: /m)
  expect(all?.stderr).toMatch(/^verify blobs: (\d+) of \1 named read, each with its hash/m)
  expect(all?.stderr).toMatch(/^verify tables: \d+ rows equal to the log/m)
  expect(all?.stderr).not.toContain('left out')
  expect(JSON.parse(json?.stdout ?? '')).toMatchObject({
    passed: true,
    records: { differences: 0, outside: {} },
    blobs: { were_read: true, differences: 0 },
    tables: { differences: 0 },
    not_covered: [],
  })
})
