/** The long fault test: `npm run test:faults -- --seed S --kills 50`. */
import { parseArgs } from 'node:util'
import { faultReport } from './fault-test.ts'
import { sizesOf } from './schedule.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    kills: { type: 'string', default: '50' },
    plant: { type: 'string' },
  },
})
// Processes that were started here end when they find this one gone.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const kills = Number(values.kills)
if (!Number.isInteger(kills) || kills < 1) throw new Error(`--kills ${values.kills}: expected a whole number from 1`)
if (values.plant !== undefined && values.plant !== 'early-positions') {
  throw new Error(`--plant ${values.plant}: expected early-positions`)
}
const { ok } = await faultReport({ seed: values.seed, sizes: sizesOf(kills), planted: values.plant })
process.exitCode = ok ? 0 : 1
