/** TRL on a feed, killed and resumed: `npm run trl -- --steps 50`. `npm run test:trl` installs what it needs. */
import { parseArgs } from 'node:util'
import { LEDGER_SQL, TIMES_SQL, trlRun } from './trl-run.ts'

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '50' },
    save: { type: 'string', default: '10' },
    'die-after': { type: 'string', default: '25' },
    variant: { type: 'string', default: 'grpo' },
    lora: { type: 'boolean', default: false },
  },
})
const say = (line: string) => void process.stdout.write(`${line}\n`)
const { steps, save, variant, lora } = values
const found = await trlRun({
  ...{ steps: Number(steps), save: Number(save), die_after: Number(values['die-after']), variant, lora, report: say },
  steps_per_round: variant === 'reused' ? 2 : 1,
})
say(found.alone.sha256 === found.resumed.sha256 ? 'the weights are equal, byte for byte' : 'BROKEN: the weights differ')
say(`\n${LEDGER_SQL}`)
for (const row of found.ledger) say(JSON.stringify(row))
say(`\n${TIMES_SQL}`)
for (const row of found.times_durable) say(JSON.stringify(row))
say(`\n${found.verify.trim()}`)
const [only, ...others] = found.times_durable
const is_once = only?.times === 1 && only.groups === found.formed && others.length === 0
process.exitCode = found.alone.sha256 === found.resumed.sha256 && is_once ? 0 : 1
