import { DuckDBInstance } from '@duckdb/node-api'
import type { Section } from './sql-vocabulary.ts'

/** `KIND NAME` of every function and type of the installed DuckDB. A SELECT cannot contain pragmas. */
const LISTED = `
  SELECT DISTINCT function_type, function_name FROM duckdb_functions() WHERE function_type <> 'pragma'
  UNION SELECT 'type', lower(type_name) FROM duckdb_types()
  UNION SELECT 'type', lower(logical_type) FROM duckdb_types()
  ORDER BY ALL`

export interface Listed {
  readonly version: string
  readonly names: readonly { readonly kind: string; readonly name: string }[]
}

export async function listedNames(): Promise<Listed> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    const [[version]] = (await connection.runAndReadAll('SELECT version()')).getRows() as [[string]]
    const rows = (await connection.runAndReadAll(LISTED)).getRows() as [string, string][]
    // The file separates names by spaces, so TIME WITH TIME ZONE needs underscores.
    return { version, names: rows.map(([kind, name]) => ({ kind, name: name.replaceAll(' ', '_') })) }
  } finally {
    connection.disconnectSync()
    instance.closeSync()
  }
}

const WIDTH = 120

/** The golden file: the names that DuckDB lists, under the headings that `sections` have for them. */
export function vocabularyText({ version, names }: Listed, sections: readonly Section[]): string {
  const headings = new Map(
    sections.flatMap((section) =>
      section.names.map((name) => [`${section.kind} ${name}`, headingOf(section)] as const),
    ),
  )
  const grouped = new Map<string, string[]>()
  for (const { kind, name } of names) {
    const heading = headings.get(`${kind} ${name}`) ?? `# unclassified ${kind}`
    grouped.set(heading, [...(grouped.get(heading) ?? []), name])
  }
  const paragraphs = [...grouped]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([heading, group]) => [heading, ...wrapped(group)].join('\n'))
  return [`## DuckDB ${version}: what plumbline sql allows and refuses`, ...paragraphs, '']
    .join('\n\n')
    .trimEnd()
    .concat('\n')
}

const headingOf = ({ allowed, kind, reason }: Section) =>
  allowed ? `# allowed ${kind}` : reason === '' ? `# unclassified ${kind}` : `# refused ${kind}: ${reason}`

function wrapped(names: readonly string[]): string[] {
  const lines: string[] = []
  for (const name of names) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + name.length <= WIDTH) lines[lines.length - 1] = `${last} ${name}`
    else lines.push(name)
  }
  return lines
}
