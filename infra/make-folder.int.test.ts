import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../testing/temporary-folder.ts'
import { makeFolder } from './make-folder.ts'

test('folders are created with their parents, and existing ones are left alone', async () => {
  const path = join(await temporaryFolder(), 'a', 'b')
  makeFolder(path, 0o700)
  makeFolder(path)
  expect(statSync(path).mode & 0o777).toBe(0o700)
  writeFileSync(join(path, 'file'), '')
  expect(() => makeFolder(join(path, 'file'))).toThrow(/EEXIST/)
  expect(() => makeFolder(join(path, 'file', 'inside'))).toThrow(/ENOTDIR|EEXIST/)
})

test.skipIf(process.platform !== 'linux')('where no folder can be created, the error is the system’s', () => {
  expect(() => makeFolder('/proc/nope/inside')).toThrow(/ENOENT/)
})
