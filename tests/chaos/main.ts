/** The long chaos test: `npm run test:chaos -- --seed S --faults 100`. */
import { parseArgs } from 'node:util'
import { plantedOf } from '../../testing/crew/planted.ts'
import { chaosReport } from './chaos-test.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    faults: { type: 'string', default: '100' },
    plant: { type: 'string' },
  },
})
// Child processes end by themselves when this process is gone.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const faults = Number(values.faults)
if (!Number.isInteger(faults) || faults < 1)
  throw new Error(`--faults ${values.faults}: expected a whole number from 1`)
const { ok } = await chaosReport({ seed: values.seed, faults, planted: plantedOf(values.plant) })
process.exitCode = ok ? 0 : 1
