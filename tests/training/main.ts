/** The long test of training: `npm run test:training -- --seed S --kills 30 [--log kafka://127.0.0.1:9092/mine]`. */
import { parseArgs } from 'node:util'
import { trainingTest } from './training-test.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    kills: { type: 'string', default: '30' },
    log: { type: 'string' },
  },
})
const say = (line: string) => void process.stdout.write(`${line}\n`)
const { seed, kills, log } = values
say(`seed ${seed}, ${kills} kills`)
const options = { seed, kills: Number(kills), report: say }
const { breaches, counts, folder } = await trainingTest(log === undefined ? options : { ...options, log })
for (const [what, count] of Object.entries(counts)) say(`${String(count).padStart(6)}  ${what}`)
for (const breach of breaches) say(`BROKEN: ${breach}`)
if (folder !== undefined) say(`kept: ${folder}`)
process.exitCode = breaches.length === 0 ? 0 : 1
