import { spawn } from 'node:child_process'
import { copyFileSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { expectSoundFile } from './infra/log/lmdb/sound-file.ts'
import { PageFile } from './infra/log/lmdb/page-file.ts'
import { openLmdbLog } from './infra/log/lmdb/lmdb-log.ts'
const dir = mkdtempSync('/tmp/tm/c-')
const w = spawn(process.execPath, ['zz-w.ts', dir], { stdio: ['ignore', 'pipe', 'inherit'] })
await new Promise((r) => w.stdout.once('data', r))
const opening = process.argv[2] === 'open'
let n = 0
for (const until = Date.now() + 20000; Date.now() < until; n++) {
  try { if (opening) await (await openLmdbLog({ dir, access: 'read' })).close(); else expectSoundFile(dir) } catch (e) {
    copyFileSync(join(dir, 'data.mdb'), '/tmp/st/bad.mdb')
    const f = new PageFile(join(dir, 'data.mdb'))
    console.log(n, (e as Error).message, JSON.stringify(f.metas()))
    w.kill('SIGSTOP')
    const g = new PageFile(join(dir, 'data.mdb'))
    console.log(JSON.stringify(g.metas()))
    break
  }
}
console.log('looks', n); w.kill('SIGKILL')
process.exit()
