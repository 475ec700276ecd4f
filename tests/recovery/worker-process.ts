/**
 * A `plumbline run --until-idle` that kills itself at one point of one commit, as `kill -9` would, to be started by
 * recovery tests: node worker-process.ts DATA STAGE:COMMIT (or `never`).
 */
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { runUntilIdle } from '../../testing/run-until-idle.ts'

const [data = '', killAt = 'never'] = process.argv.slice(2)
const [stage, commit] = killAt.split(':')
let commits = 0

const folder = await openDataFolder({ data }, { create: true })
const wiring = await topology({ ...DEFAULTS, policy: 'random-legal' })
await runUntilIdle(folder, wiring, {
  // Small commits, so that there are many to be killed in.
  tuning: { commit_interval_ms: 1, max_unsaved_bytes: 20_000, session_timeout_ms: 1_000, snapshot_every: 20 },
  observe: (processor, at) => {
    if (at === 'processed') commits++
    if (at !== stage || commits < Number(commit)) return
    process.stdout.write(`killed in commit ${commits} of ${processor}, ${at}\n`)
    process.kill(process.pid, 'SIGKILL')
  },
})
await folder.close()
