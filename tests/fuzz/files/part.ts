import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pick } from '../../../testing/pick.ts'
import type { FuzzPart } from '../fuzz.ts'
import { BlobFile } from './blob-file.ts'
import { DAMAGE_KINDS } from './damage.ts'
import { LogFile } from './log-file.ts'
import { TablesFile } from './tables-file.ts'

/**
 * Damaged files of every kind that the program writes: the embedded log, the tables with their write-ahead log, and
 * blobs. Each damage ends in the right answer or an error message, never in another answer, a crash or an endless wait.
 */
export const filesPart: FuzzPart = {
  name: 'files',
  async open() {
    const dir = mkdtempSync(join(tmpdir(), 'plumbline-files-'))
    const folder = (name: string) => {
      mkdirSync(join(dir, name))
      return join(dir, name)
    }
    const targets = [
      await LogFile.make(folder('log')),
      await TablesFile.make(folder('tables')),
      await BlobFile.make(folder('blobs')),
    ]
    return {
      async attempt(random, trying) {
        const target = pick(random, targets)
        const kind = pick(random, DAMAGE_KINDS)
        return `${target.name}, ${kind}: ${await target.attempt(random, kind, (what) => {
          trying(`${target.name}, ${kind}: ${what}`)
        })}`
      },
      async check() {},
      async close() {
        for (const target of targets) await target.close()
        rmSync(dir, { recursive: true, force: true })
      },
    }
  },
}
