import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../../testing/temporary-folder.ts'

const GUARD = fileURLToPath(new URL('../../guard.mjs', import.meta.url))

test.each(['SIGSEGV', 'SIGBUS', 'SIGABRT'])(
  'a program that %s ends reports it, and what to do about a damaged folder',
  async (signal) => {
    const file = join(await temporaryFolder(), 'crash.ts')
    writeFileSync(file, `process.kill(process.pid, '${signal}')\nsetInterval(() => {}, 1_000)\n`)
    const ended = spawnSync(process.execPath, [GUARD, '--exec', file, '--data', '/some/folder'], { encoding: 'utf8' })
    expect(ended.stderr).toMatch(
      new RegExp(
        `ended by ${signal}.*/some/folder.*\\n.*plumbline --data /some/folder verify.*\\n.*repair --to NEWDIR`,
      ),
    )
    expect(ended).toMatchObject({ status: 1, signal: null })
  },
)
