import { catalogue } from '../../../streams/vocabulary.ts'

/** What the tables answer. */
export interface TablesAnswer {
  /** By table, sorted. */
  readonly rows: Readonly<Record<string, readonly Row[]>>
  /** Some views, as text. */
  readonly views: string
  /** How far each `topic/partition` is loaded. */
  readonly positions: Readonly<Record<string, number>>
}

interface Row {
  /** `topic/partition` */
  readonly place: string
  readonly offset: number
  readonly text: string
}

/** Runs one statement. @returns the rows */
export type Ask = (sql: string) => Promise<readonly (readonly unknown[])[]>

const VIEWS = ['funnel', 'funnel_check', 'advantages', 'rewards']

export async function tablesAnswer(ask: Ask): Promise<TablesAnswer> {
  const positions: Record<string, number> = {}
  for (const [topic, partition, next] of await ask('select topic, partition, next from internal.positions')) {
    positions[`${topic}/${partition}`] = Number(next)
  }
  const rows: Record<string, Row[]> = {}
  for (const { type } of catalogue) {
    const found = await ask(`select log_partition, log_offset, one::varchar from ${type} as one`)
    rows[type] = found
      .map(([partition, offset, text]) => ({ place: `${type}/${partition}`, offset: Number(offset), text: `${text}` }))
      .sort((a, b) => (a.text < b.text ? -1 : 1))
  }
  const views: string[] = []
  for (const view of VIEWS) {
    const found = await ask(`select one::varchar from ${view} as one order by all`)
    views.push(`${view}:`, ...found.map(([text]) => `${text}`))
  }
  return { rows, positions, views: views.join('\n') }
}
