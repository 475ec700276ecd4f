/** The long fault test: `npm run test:faults -- --seed S --kills 50`. */
import { parseArgs } from 'node:util'
import { plantedOf } from '../../testing/crew/planted.ts'
import { faultReport } from './fault-test.ts'
import { sizesOf } from './schedule.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    kills: { type: 'string', default: '50' },
    plant: { type: 'string' },
  },
})
// Child processes end by themselves when this process is gone.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const kills = Number(values.kills)
if (!Number.isInteger(kills) || kills < 1) throw new Error(`--kills ${values.kills}: expected a whole number from 1`)
const { ok } = await faultReport({ seed: values.seed, sizes: sizesOf(kills), planted: plantedOf(values.plant) })
process.exitCode = ok ? 0 : 1
