/**
 * Runs the benchmarks, all of them or those that are named:
 *
 *   npm run bench -- [NAME …] [--pairs N] [--completions N,N,…] [--quick] [--json]
 *
 * Benchmarks that take many minutes run only when they are named.
 */

import { parseArgs } from 'node:util'
import { measure, type OpenBench, type Result, readGauge } from './pairs.ts'
import { tableOf } from './table.ts'

const BENCHES: Readonly<Record<string, () => Promise<{ readonly open: OpenBench }>>> = {
  'log-append': () => import('./log-append.ts'),
  'log-scan': () => import('./log-scan.ts'),
  codec: () => import('./codec.ts'),
  render: () => import('./render.ts'),
  generate: () => import('./generate.ts'),
  physics: () => import('./physics.ts'),
  'score-completions': () => import('./score-completions.ts'),
  'form-groups': () => import('./form-groups.ts'),
  backlog: () => import('./backlog.ts'),
  blobs: () => import('./blobs.ts'),
  tensors: () => import('./tensors.ts'),
  compute: () => import('./compute.ts'),
  'duckdb-sink': () => import('./duckdb-sink.ts'),
  rescore: () => import('./rescore.ts'),
  sql: () => import('./sql.ts'),
  growth: () => import('./growth.ts'),
  feed: () => import('./feed.ts'),
  'model-swap': () => import('./model-swap.ts'),
}
const WHEN_NAMED = ['blobs', 'tensors', 'compute', 'sql', 'growth', 'feed', 'model-swap']

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    pairs: { type: 'string', default: '9' },
    completions: { type: 'string' },
  },
})
const pairs = values.quick ? 1 : Number(values.pairs)
const unknown = positionals.filter((name) => BENCHES[name] === undefined)
if (unknown.length > 0 || !Number.isSafeInteger(pairs) || pairs < 1) {
  const problem =
    unknown.length > 0 ? `there is no benchmark ${unknown.join(', ')}` : `--pairs ${values.pairs} is no number of pairs`
  process.stderr.write(`bench: ${problem}\nthere are: ${Object.keys(BENCHES).join(', ')}\n`)
  process.exit(2)
}

const completions = values.completions?.split(',').map(Number)
const results: (Result & { readonly name: string })[] = []
for (const [name, load] of Object.entries(BENCHES)) {
  if (positionals.length > 0 ? !positionals.includes(name) : WHEN_NAMED.includes(name)) continue
  const { open } = await load()
  const bench = await open({ quick: values.quick, ...(completions === undefined ? {} : { completions }) })
  try {
    for (const subject of bench.measures) {
      process.stderr.write(`${name}: ${subject.what}\n`)
      results.push({ name, ...(await measure(subject, pairs)) })
    }
    for (const gauge of bench.gauges ?? []) {
      process.stderr.write(`${name}: ${gauge.what}\n`)
      results.push({ name, ...(await readGauge(gauge)) })
    }
  } finally {
    await bench.close?.()
  }
}
if (values.json) process.stdout.write(`${JSON.stringify({ pairs, results }, null, 1)}\n`)
else process.stdout.write(tableOf(results))
