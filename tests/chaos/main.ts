/** The long chaos test: `npm run test:chaos -- --seed S --faults 100`. */
import { parseArgs } from 'node:util'
import { chaosReport } from './chaos-test.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    faults: { type: 'string', default: '100' },
    plant: { type: 'string' },
  },
})
// Processes that were started here end when they find this one gone.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const faults = Number(values.faults)
if (!Number.isInteger(faults) || faults < 1)
  throw new Error(`--faults ${values.faults}: expected a whole number from 1`)
if (values.plant !== undefined && values.plant !== 'early-positions') {
  throw new Error(`--plant ${values.plant}: expected early-positions`)
}
const { ok } = await chaosReport({ seed: values.seed, faults, planted: values.plant })
process.exitCode = ok ? 0 : 1
