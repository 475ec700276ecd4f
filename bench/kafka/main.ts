/**
 * Runs the benchmarks that need a broker, all of them or those that are named, on a broker of their own:
 *
 *   npm run bench:kafka -- [NAME …] [--rounds N] [--pairs N] [--messages N] [--with PEER,…] [--quick] [--json]
 *                          [--broker HOST:PORT]
 */

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startBroker } from '../../infra/kafka-broker/local-broker.ts'
import { benchFolder } from '../folder.ts'
import { measure, type Result, readGauge } from '../pairs.ts'
import { tableOf } from '../table.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { CANDIDATES, OURS } from './candidates.ts'

const BENCHES: Readonly<Record<string, () => Promise<{ readonly open: OpenKafkaBench }>>> = {
  topology: () => import('./topology.ts'),
  'pass-through': () => import('./pass-through.ts'),
  produce: () => import('./produce.ts'),
  consume: () => import('./consume.ts'),
  takeover: () => import('./takeover.ts'),
  'scale-out': () => import('./scale-out.ts'),
  latency: () => import('./latency.ts'),
  'slow-sink': () => import('./slow-sink.ts'),
  training: () => import('./training.ts'),
}
const NAMES = ['peers', ...Object.keys(BENCHES)]
const PEERS = CANDIDATES.map(({ name }) => name).filter((name) => name !== OURS)

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    pairs: { type: 'string', default: '7' },
    rounds: { type: 'string', default: '7' },
    messages: { type: 'string', default: '200000' },
    with: { type: 'string', default: PEERS.join() },
    broker: { type: 'string' },
  },
})
const [pairs, rounds, messages] = (['pairs', 'rounds', 'messages'] as const).map((name) => {
  const number = Number(values.quick ? { pairs: 1, rounds: 1, messages: 8_000 }[name] : values[name])
  if (!Number.isSafeInteger(number) || number < 1) stop(`--${name} ${values[name]}: expected a number of ${name}`)
  return number
}) as [number, number, number]
const unknown = positionals.filter((name) => !NAMES.includes(name))
if (unknown.length > 0) stop(`there is no benchmark ${unknown.join(', ')}\nthere are: ${NAMES.join(', ')}`)
const peers = values.with.split(',').filter((name) => name !== '')
const nobody = peers.filter((name) => !PEERS.includes(name))
if (nobody.length > 0) stop(`--with ${nobody.join()}: there is no such peer\nthere are: ${PEERS.join(', ')}`)

const wanted = (name: string) => positionals.length === 0 || positionals.includes(name)
const say = (line: string) => process.stderr.write(`${line}\n`)
const results: (Result & { readonly name: string })[] = []
const folder = await benchFolder()
const broker = values.broker ? undefined : await startBroker({ dir: join(folder.path, 'broker'), heap: '1g', say })
try {
  const bootstrap = broker?.bootstrap ?? (values.broker as string)
  if (wanted('peers')) {
    const { race } = await import('./race.ts')
    const runners = [OURS, ...peers]
    for (const result of await race({ bootstrap, messages, rounds, runners, say })) {
      results.push({ name: 'peers', ...result })
    }
  }
  for (const [name, load] of Object.entries(BENCHES)) {
    if (!wanted(name)) continue
    const { open } = await load()
    const bench = await open({ bootstrap, quick: values.quick })
    try {
      for (const subject of bench.measures) {
        say(`${name}: ${subject.what}`)
        results.push({ name, ...(await measure(subject, pairs)) })
      }
      for (const gauge of bench.gauges ?? []) {
        say(`${name}: ${gauge.what}`)
        results.push({ name, ...(await readGauge(gauge)) })
      }
    } finally {
      await bench.close?.()
    }
  }
} finally {
  await broker?.stop()
  await folder.remove()
}
if (values.json) process.stdout.write(`${JSON.stringify({ pairs, rounds, messages, results }, null, 1)}\n`)
else process.stdout.write(tableOf(results))

function stop(problem: string): never {
  process.stderr.write(`bench:kafka: ${problem}\n`)
  process.exit(2)
}
