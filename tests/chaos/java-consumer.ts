import { type At, sql } from '../crew/program.ts'
import { kafkaTool } from '../kafka-tool.ts'

/** Outputs, which must be there once each. */
const OUTPUTS = [
  'policy.completions_sampled',
  'tower.completions_scored',
  'rollout.group_formed',
  'rollout.group_expired',
] as const

/**
 * What Kafka's own Java consumer sees, which shares no line with the driver that wrote it: reading committed records
 * only, each event of the outputs comes once, and there are as many as DuckDB has.
 *
 * @returns breaches
 */
export async function otherThanConsumed(
  { bootstrap, prefix, dir }: { readonly bootstrap: string; readonly prefix: string; readonly dir: string },
  at: At,
  counts: Record<string, number>,
): Promise<string[]> {
  const breaches: string[] = []
  for (const type of OUTPUTS) {
    const said = await kafkaTool({ bootstrap, dir }, 'ConsoleConsumer', [
      ...['--topic', `${prefix}.${type}`, '--from-beginning', '--isolation-level', 'read_committed'],
      ...['--timeout-ms', '10000', '--property', 'print.headers=true', '--property', 'print.value=false'],
    ])
    const ids = [...said.matchAll(/\bce_id:([^,\t\n]+)/g)].map(([, id]) => id)
    const once = new Set(ids)
    counts[`as Kafka’s Java consumer sees them: ${type}`] = ids.length
    if (once.size < ids.length) breaches.push(`${type}: Kafka's Java consumer sees ${ids.length - once.size} twice`)
    const [loaded] = await sql<{ n: number }>(at, `select count(distinct ce_id)::int as n from ${type}`)
    if (loaded?.n !== once.size) {
      breaches.push(`${type}: Kafka's Java consumer sees ${once.size} events, DuckDB has ${loaded?.n}`)
    }
  }
  return breaches
}
