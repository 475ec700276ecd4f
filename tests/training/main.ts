/**
 * The long test of training: `npm run test:training -- --seed S --kills 30`. With `--max-staleness 12` the trainer publishes
 * its weights, and groups that are more steps behind are dropped. `--log kafka://127.0.0.1:9092/mine`, and with it
 * `--over kafka`: on Kafka, and without a feed.
 */
import { parseArgs } from 'node:util'
import { type TrainingTestOptions, trainingTest } from './training-test.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    kills: { type: 'string', default: '30' },
    log: { type: 'string' },
    over: { type: 'string', default: 'http' },
    'max-staleness': { type: 'string' },
  },
})
const say = (line: string) => void process.stdout.write(`${line}\n`)
const { seed, kills, log, over } = values
if (over !== 'http' && over !== 'kafka') throw new RangeError(`--over: expected http or kafka, got ${over}`)
say(`seed ${seed}, ${kills} kills`)
const staleness = values['max-staleness']
const options: TrainingTestOptions = {
  ...{ seed, kills: Number(kills), over, report: say },
  ...(staleness === undefined ? {} : { max_staleness: Number(staleness) }),
}
const { breaches, counts, folder } = await trainingTest(log === undefined ? options : { ...options, log })
for (const [what, count] of Object.entries(counts)) say(`${String(count).padStart(6)}  ${what}`)
for (const breach of breaches) say(`BROKEN: ${breach}`)
if (folder !== undefined) say(`kept: ${folder}`)
process.exitCode = breaches.length === 0 ? 0 : 1
