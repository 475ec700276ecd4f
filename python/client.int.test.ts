import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const python = fileURLToPath(new URL('../.venv/bin/python', import.meta.url))
const folder = fileURLToPath(new URL('.', import.meta.url))

test('the tests of the Python client pass', async () => {
  expect(existsSync(python), `${python}: npm test makes it`).toBe(true)
  const discover = ['-W', 'error', '-m', 'unittest', 'discover', '-s', 'tests', '-t', '.']
  // An exit code other than 0 rejects, with what the tests printed.
  const { stderr } = await promisify(execFile)(python, discover, { cwd: folder, timeout: 120_000 })
  expect(stderr).toMatch(/^Ran \d\d+ tests[\s\S]*\nOK\n$/m)
})
