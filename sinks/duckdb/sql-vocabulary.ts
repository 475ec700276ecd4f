import { readFileSync } from 'node:fs'

/**
 * Every function and type of the pinned DuckDB, each classified as allowed or refused with a reason. A name that DuckDB
 * gains with an update is refused until it is classified: `sql-vocabulary.golden.txt` is written by
 * `node guard.mjs --exec sinks/duckdb/write-vocabulary.ts`, which lists new names as unclassified.
 */
export interface Vocabulary {
  /** Allowed in expressions: scalar functions, aggregates and macros. */
  readonly functions: ReadonlySet<string>
  /** Allowed in FROM. */
  readonly tableFunctions: ReadonlySet<string>
  /** Allowed as the target of a cast, in lower case. */
  readonly types: ReadonlySet<string>
  /** Why a name is refused, by its kind and name: `table read_csv`. */
  readonly reasons: ReadonlyMap<string, string>
}

export const VOCABULARY_FILE = new URL('./sql-vocabulary.golden.txt', import.meta.url)

/** A heading and the names under it. */
export interface Section {
  /** `scalar`, `aggregate`, `macro`, `table`, `table_macro` or `type`. */
  readonly kind: string
  readonly allowed: boolean
  readonly reason: string
  readonly names: readonly string[]
}

const HEADING = /^# (allowed|refused|unclassified) (\w+)(?:: (.+))?$/

export function sectionsOf(text: string): Section[] {
  const sections: (Section & { names: string[] })[] = []
  for (const line of text.split('\n')) {
    const heading = HEADING.exec(line)
    if (heading !== null) {
      const [, verdict, kind = '', reason = verdict === 'refused' ? 'refused' : ''] = heading
      sections.push({ kind, allowed: verdict === 'allowed', reason, names: [] })
    } else if (!line.startsWith('##')) {
      sections.at(-1)?.names.push(...line.split(' ').filter((name) => name !== ''))
    }
  }
  return sections
}

/**
 * Functions that DuckDB's binder handles by name and `duckdb_functions()` does not list as values: they turn a list
 * into rows. `unlist` is how an earlier release writes it.
 */
const BINDER_FUNCTIONS = ['unnest', 'unlist']

export function vocabularyOf(sections: readonly Section[]): Vocabulary {
  const allowed = (...kinds: string[]) =>
    sections.filter((section) => section.allowed && kinds.includes(section.kind)).flatMap(({ names }) => names)
  return {
    functions: new Set([...allowed('scalar', 'aggregate', 'macro'), ...BINDER_FUNCTIONS]),
    tableFunctions: new Set(allowed('table', 'table_macro')),
    types: new Set(allowed('type')),
    reasons: new Map(
      sections
        .filter((section) => !section.allowed)
        .flatMap(({ kind, reason, names }) => names.map((name) => [`${kind} ${name}`, reason] as const)),
    ),
  }
}

let loaded: Vocabulary | undefined

export function vocabulary(): Vocabulary {
  loaded ??= vocabularyOf(sectionsOf(readFileSync(VOCABULARY_FILE, 'utf8')))
  return loaded
}
