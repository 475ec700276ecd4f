import { literal } from '../../schemas/derive/sql-quoting.ts'
import { groupsIn, MODELS, placesIn } from '../../sinks/duckdb/views/contained.ts'
import type { Ask } from '../ask-rows.ts'
import { type NamedWeights, rows } from './named-weights.ts'

/** By what two requests are the same: never by their ids. */
export const LEAK_KINDS = ['start', 'content', 'image'] as const

export interface Leak {
  readonly by: (typeof LEAK_KINDS)[number]
  /** What both have: an origin and start_id, a prompt's hash and the content of the start, or a hash of pixels. */
  readonly shared: string
  readonly trained_groups: number
  readonly trained_example: string
  readonly eval_groups: number
  readonly eval_example: string
}

export interface Leakage {
  readonly name: string
  readonly clean: boolean
  /** Groups that the weights contain, or their publisher names; how many of them have their request in the tables. */
  readonly trained_groups: number
  readonly trained_with_request: number
  readonly eval_groups: number
  /** In `trained_on` of the model or a parent, and no request in the tables: data sets, which cannot be compared. At most `MOST_LEAKS`. */
  readonly not_compared: readonly string[]
  /** The first ones, at most `MOST_LEAKS`. */
  readonly leaks: readonly Leak[]
  readonly leaks_in_all: number
}

const MOST_LEAKS = 100

/** The start without what only names it: a content key where the origin has one, else all of it. */
const CONTENT = `prompt.sha256 || ' ' || origin || ' ' || coalesce(json_extract_string(start, '$.value.content_key'), start::VARCHAR)`

/** What each of these requests could be recognised by. */
const marksOf = (requests: string) => `(
      SELECT 'start' AS "by", group_id, origin || ' ' || start_id AS shared FROM ${requests}
      UNION ALL
      SELECT 'content' AS "by", group_id, ${CONTENT} AS shared FROM ${requests}
      UNION ALL
      SELECT 'image' AS "by", group_id, unnest(images).pixels_sha256 AS shared FROM ${requests}
    )`

/** Whether what weights were trained on is also among the requests with the purpose `eval`. */
export async function leakageOf(ask: Ask, named: NamedWeights): Promise<Leakage> {
  const { name, weights } = named
  const told = `(
      SELECT DISTINCT unnest(trained_on) AS group_id FROM ${MODELS}
      WHERE model_id = ${literal(name)} OR model_id IN (SELECT parent FROM (${placesIn(weights)}) WHERE parent IS NOT NULL)
    )`
  const trained = `(SELECT group_id FROM (${groupsIn(weights)}) WHERE fate = 'contained' UNION SELECT group_id FROM ${told})`
  const requests = `(FROM rollout.requested AS requested SEMI JOIN ${trained} AS trained ON trained.group_id = requested.group_id)`
  const evaluated = `(FROM rollout.requested WHERE purpose = 'eval')`
  // Three subqueries in one row would be a cross product.
  const counted = await rows(
    ask,
    `SELECT 'trained' AS what, count(*) AS groups FROM ${trained}
    UNION ALL SELECT 'with_request', count(DISTINCT group_id) FROM ${requests}
    UNION ALL SELECT 'evaluated', count(DISTINCT group_id) FROM ${evaluated}`,
  )
  const counts = Object.fromEntries(counted.map(({ what, groups }) => [String(what), Number(groups)]))
  const perMark = (requests: string) =>
    `(SELECT "by", shared, count(DISTINCT group_id) AS groups, min(group_id) AS example FROM ${marksOf(requests)} GROUP BY ALL)`
  const found = await rows(
    ask,
    `SELECT trained."by", trained.shared, trained.groups, trained.example,
      evaluated.groups AS eval_groups, evaluated.example AS eval_example, count(*) OVER () AS in_all
    FROM ${perMark(requests)} AS trained
    JOIN ${perMark(evaluated)} AS evaluated ON evaluated."by" = trained."by" AND evaluated.shared = trained.shared
    ORDER BY ALL LIMIT ${MOST_LEAKS}`,
  )
  const unknown = await rows(
    ask,
    `SELECT told.group_id FROM ${told} AS told
    ANTI JOIN rollout.requested AS requested ON requested.group_id = told.group_id
    ORDER BY ALL LIMIT ${MOST_LEAKS}`,
  )
  return {
    name,
    clean: found.length === 0,
    trained_groups: counts.trained ?? 0,
    trained_with_request: counts.with_request ?? 0,
    eval_groups: counts.evaluated ?? 0,
    not_compared: unknown.map(({ group_id }) => String(group_id)),
    leaks: found.map((row) => ({
      by: String(row.by) as Leak['by'],
      shared: String(row.shared),
      trained_groups: Number(row.groups),
      trained_example: String(row.example),
      eval_groups: Number(row.eval_groups),
      eval_example: String(row.eval_example),
    })),
    leaks_in_all: Number(found[0]?.in_all ?? 0),
  }
}

const ABOUT: Readonly<Record<Leak['by'], string>> = {
  start: 'the same start',
  content: 'the same prompt about the same content',
  image: 'the same pixels',
}

export function leakageText(found: Leakage): string {
  const { name, clean, trained_groups, trained_with_request, eval_groups, not_compared, leaks, leaks_in_all } = found
  const lines = [
    `${name}: ${trained_with_request} of ${trained_groups} groups that it was trained on have their request in the tables`,
    `compared with ${eval_groups} groups of evaluation, by start, by prompt and content, and by pixels`,
    ...(not_compared.length === 0
      ? []
      : [
          `not compared, since their requests are not there: ${not_compared.slice(0, 8).join(', ')}${not_compared.length > 8 ? ', …' : ''}`,
        ]),
    clean ? 'no overlap found' : `${leaks_in_all} overlaps:`,
    ...leaks.map(
      (leak) =>
        `  ${ABOUT[leak.by]}: ${leak.shared}: trained on in ${leak.trained_groups} (${leak.trained_example}), evaluated in ${leak.eval_groups} (${leak.eval_example})`,
    ),
    ...(leaks_in_all > leaks.length ? [`  … and ${leaks_in_all - leaks.length} more`] : []),
  ]
  return `${lines.join('\n')}\n`
}
