import { parseArgs } from 'node:util'
import { type FuzzPart, fuzz, fuzzReport } from './fuzz.ts'

/**
 * npm run test:fuzz -- PART --seed S --calls N
 *
 * --seed   any text; a seed and a call's number make the same input in every process (1)
 * --calls  how many (1000); stops at the first that breaks a guarantee
 * --from   the number of the first call (0)
 */
const PARTS: Readonly<Record<string, () => Promise<FuzzPart>>> = {
  sql: async () => (await import('./sql/part.ts')).sqlPart,
  records: async () => (await import('./records/part.ts')).recordsPart,
  commands: async () => (await import('./commands/part.ts')).commandsPart,
  files: async () => (await import('./files/part.ts')).filesPart,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string', default: '1' },
    calls: { type: 'string', default: '1000' },
    from: { type: 'string', default: '0' },
  },
})
const [name = ''] = positionals
const load = PARTS[name]
const calls = Number(values.calls)
const from = Number(values.from)
if (
  load === undefined ||
  positionals.length !== 1 ||
  ![calls, from].every((each) => Number.isSafeInteger(each) && each >= 0)
) {
  process.stderr.write(
    `usage: npm run test:fuzz -- PART [--seed S] [--calls N] [--from K]; parts: ${Object.keys(PARTS).join(', ')}\n`,
  )
  process.exit(2)
}
const part = await load()
const result = await fuzz({
  part,
  seed: values.seed,
  calls,
  from,
  onChecked: (done) => process.stderr.write(`\r${name}: ${done - from} of ${calls} `),
})
process.stderr.write('\n')
process.stdout.write(fuzzReport(part, result))
process.exitCode = result.failure === undefined ? 0 : 1
