import type { DuckDBConnection } from '@duckdb/node-api'
import { SqlFailedError, SqlRefusedError } from './sql-errors.ts'
import { refuseUnknown, type SerializedSql } from './sql-tree.ts'
import { vocabulary } from './sql-vocabulary.ts'

/**
 * Decides by DuckDB's own syntax tree whether a statement only reads. The text is parsed by the parser that will run
 * it. Exactly one SELECT is accepted (DESCRIBE, SHOW, SUMMARIZE, VALUES and FROM are SELECTs to the parser), and
 * `sql-tree.ts` must allow everything in its tree. The text is not searched for keywords, so comments and quotes hide
 * nothing.
 */

/** Planning a longer statement takes DuckDB seconds and cannot be interrupted. */
export const LONGEST_STATEMENT_BYTES = 256 * 1024
/** Its scanner takes time quadratic in the depth of nested comments. */
const MOST_COMMENTS = 1_000

export const REMEDY =
  'plumbline sql runs one SELECT (or FROM, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN) at a time'

/**
 * @returns The text to run: the statement, with any EXPLAIN rewritten.
 * @throws SqlRefusedError when it is not one statement that only reads; SqlFailedError on a syntax error.
 */
export async function approvedText(connection: DuckDBConnection, sql: string): Promise<string> {
  refuseBulk(sql)
  const { explain, statement } = splitExplain(sql)
  const { error, error_type, error_message = '', statements = [] } = await serialized(connection, statement)
  if (error === true) {
    if (error_type === 'not implemented') throw notReading(statement)
    if (error_type === 'serialization') {
      throw new SqlRefusedError(
        `a type in the statement cannot be checked, such as ENUM ('a')[]; cast to a list of varchar instead. ${error_message}`,
      )
    }
    if (error_message.startsWith('unicode_to_utf8')) {
      throw new SqlRefusedError('an identifier written as U&"…" is refused; write it plainly')
    }
    throw new SqlFailedError(`Parser Error: ${error_message}`)
  }
  if (statements.length === 0) throw new SqlRefusedError(`expected a statement, got nothing; ${REMEDY}`)
  if (statements.length > 1) throw new SqlRefusedError(`expected one statement, got ${statements.length}; ${REMEDY}`)
  refuseUnknown(statements[0], vocabulary())
  return `${explain}${statement}`
}

function refuseBulk(sql: string): void {
  const bytes = Buffer.byteLength(sql)
  if (bytes > LONGEST_STATEMENT_BYTES) {
    throw new SqlRefusedError(`a statement may have ${LONGEST_STATEMENT_BYTES} bytes, this one has ${bytes}`)
  }
  if (sql.includes('\0')) throw new SqlRefusedError('a statement may not hold the character U+0000')
  let comments = 0
  for (let at = sql.indexOf('/*'); at >= 0; at = sql.indexOf('/*', at + 2)) comments += 1
  if (comments > MOST_COMMENTS) throw new SqlRefusedError(`a statement may have ${MOST_COMMENTS} comments (/*)`)
}

const SPACE_OR_COMMENT = String.raw`(?:\s|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)`
const EXPLAIN = new RegExp(
  String.raw`^${SPACE_OR_COMMENT}*explain\b(?:${SPACE_OR_COMMENT}*(analyze\b)|${SPACE_OR_COMMENT}*\(([\w\s,]*)\))?`,
  'i',
)
const EXPLAIN_OPTION = /^(?:analyze|format\s+(?:text|json|html|graphviz|yaml|mermaid|default))$/i

/**
 * DuckDB cannot serialise EXPLAIN, so it is removed here and prepended again to the checked statement. A wrong match
 * is harmless: only the checked rest runs, after a prefix written here.
 */
function splitExplain(sql: string): { readonly explain: string; readonly statement: string } {
  const found = EXPLAIN.exec(sql)
  if (found === null) return { explain: '', statement: sql }
  const [whole, analyze, list] = found
  const options =
    list === undefined ? (analyze === undefined ? [] : ['analyze']) : list.split(',').map((each) => each.trim())
  const unknown = options.find((option) => !EXPLAIN_OPTION.test(option))
  if (unknown !== undefined)
    throw new SqlRefusedError(`EXPLAIN (${unknown}) is refused; it takes ANALYZE and FORMAT name`)
  return {
    explain: options.length === 0 ? 'EXPLAIN ' : `EXPLAIN (${options.join(', ').toUpperCase()}) `,
    statement: sql.slice(whole.length),
  }
}

const SERIALIZE = 'SELECT json_serialize_sql($1::VARCHAR, skip_null := true, skip_empty := true, skip_default := true)'

async function serialized(connection: DuckDBConnection, sql: string): Promise<SerializedSql> {
  const [[text] = []] = (await connection.runAndReadAll(SERIALIZE, [sql])).getRows()
  return parsed(String(text)) as SerializedSql
}

/** DuckDB writes an infinite literal (1e999) in a form that is not JSON. Read it as null: no check depends on it. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return JSON.parse(
      text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|-?\b(?:Infinity|NaN|inf|nan)\b/g, (token) =>
        token.startsWith('"') ? token : 'null',
      ),
    )
  }
}

function notReading(sql: string): SqlRefusedError {
  if (/\bpivot\b/i.test(sql)) {
    return new SqlRefusedError(
      'a PIVOT that finds its own columns is two statements; list them: PIVOT … ON column IN (…)',
    )
  }
  const [kind = 'unknown'] = /[a-z]+/i.exec(sql.replace(new RegExp(`^${SPACE_OR_COMMENT}*`), '')) ?? []
  return new SqlRefusedError(`a statement of kind ${kind.toUpperCase()} is refused; ${REMEDY}`)
}
