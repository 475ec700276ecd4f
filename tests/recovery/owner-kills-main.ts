/** Ends the owner of the tables 100 times: `node guard.mjs --exec tests/recovery/owner-kills-main.ts --kills 100`. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ownerKills } from './owner-kills.ts'

const { values } = parseArgs({
  options: { seed: { type: 'string', default: '1' }, kills: { type: 'string', default: '100' } },
})
const cwd = mkdtempSync(join(tmpdir(), 'plumbline-owner-kills-'))
const say = (line: string) => process.stdout.write(`${line}\n`)
const { breaches, recoveries_ms } = await ownerKills({
  kills: Number(values.kills),
  seed: values.seed,
  cwd,
  report: say,
})
const sorted = recoveries_ms.toSorted((a, b) => a - b)
const seconds = (ms = 0) => `${(ms / 1e3).toFixed(1)} s`
say(
  `until everything was answered again: median ${seconds(sorted[sorted.length >> 1])}, longest ${seconds(sorted.at(-1))}`,
)
for (const breach of breaches) say(`BROKEN: ${breach}`)
say(breaches.length === 0 ? 'nothing was lost, nothing came twice, no worker stopped' : `kept: ${cwd}`)
if (breaches.length === 0) rmSync(cwd, { recursive: true, force: true })
process.exitCode = breaches.length === 0 ? 0 : 1
