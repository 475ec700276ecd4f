import { type At, sql } from '../../testing/crew/program.ts'
import { kafkaTool } from '../../testing/kafka-tool.ts'

/** Output events, each of which must be in the log exactly once. */
const OUTPUTS = [
  'policy.completions_sampled',
  'tower.completions_scored',
  'rollout.group_formed',
  'rollout.group_expired',
] as const

/**
 * Reads the outputs with Kafka's own Java consumer, which shares no code with the driver that wrote them. Each event
 * must appear once among the committed records, and DuckDB must have as many.
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
