import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { mendByCommands } from '../../testing/foreign-records.ts'
import { plumbline, sharedFolder } from './plumbline.ts'

const LIMIT = { timeout: 300_000 }

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
})

test(
  'foreign records in internal topics are named with the command that fixes it, after which everything continues',
  LIMIT,
  () => mendByCommands({ cwd }, `lmdb:${join(cwd, 'data', 'log')}`),
)

test.each([
  [['clock.ticked', '0', '0'], 2, /clock\.ticked partition 0 offset 0 is sound/],
  [['_journal.form-groups', '0', '0'], 2, /_journal\.form-groups partition 0 offset 0 is sound/],
  [['_topology', '0', '0'], 2, /_topology partition 0 offset 0 is sound/],
  [['_journal.form-groups', '0', '99'], 2, /has no record at offset 99/],
  [['_journal.form-groups', '9', '0'], 2, /has no partition 9/],
  [['_journal.nobody', '0', '0'], 2, /has no partition 0 of _journal\.nobody/],
  [['_skipped', '0', '0'], 2, /_skipped partition 0 offset 0 is sound/],
  [['_topology', '0'], 2, /expected TOPIC PARTITION OFFSET/],
  [['_topology', '0', '1', '2'], 2, /expected TOPIC PARTITION OFFSET/],
  [['_topology', 'x', '0'], 2, /partition x: expected a whole number/],
] as const)('skip %s is refused with a message', async (args, code, says) => {
  const ended = await plumbline(['skip', ...args], { cwd })
  expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(says)])
})
