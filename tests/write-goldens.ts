import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { addFingerprints } from '../schemas/conformance/fingerprint-golden.ts'
import { catalogue } from '../streams/vocabulary.ts'

/**
 * npm run goldens: adds the fingerprints of new events, and rewrites the recorded outputs of the program. Look at the
 * difference before you commit it.
 */
const added = await addFingerprints(catalogue)
process.stdout.write(added.length === 0 ? 'every event has its fingerprint\n' : `added: ${added.join(', ')}\n`)
const root = fileURLToPath(new URL('..', import.meta.url))
const vitest = ['node_modules/vitest/vitest.mjs', 'run', 'tests/cli/what-people-read', '--update']
process.exitCode = spawnSync(process.execPath, vitest, { cwd: root, stdio: 'inherit' }).status ?? 1
