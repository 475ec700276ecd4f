import { SqlRefusedError } from './sql-errors.ts'
import type { Vocabulary } from './sql-vocabulary.ts'

/**
 * Checks the syntax tree that DuckDB makes of a statement (`json_serialize_sql`). It refuses every kind or part of a
 * node, function and type that is not on a list, and table names that could be files.
 */

/** Planning takes time cubic in the length of a chain of operators, and cannot be interrupted. */
const DEEPEST = 256
const MOST_QUERIES = 1_000

/** The kind of a node's part; `*` is a list, `**` a list of lists. `data` is only names, numbers and options. */
type Part = Kind | `${Kind}*` | `${Kind}**`
type Kind =
  | 'data'
  | 'statement'
  | 'query'
  | 'table'
  | 'expression'
  | 'modifier'
  | 'ctes'
  | 'cte_entry'
  | 'cte'
  | 'order'
  | 'case'
  | 'replacement'
  | 'type'
  | 'type_info'
  | 'member'
  | 'at'
  | 'pivot'
  | 'pivot_entry'
type Parts = Readonly<Record<string, Part>>

const SELECT_PARTS: Parts = {
  modifiers: 'modifier*',
  cte_map: 'ctes',
  select_list: 'expression*',
  from_table: 'table',
  where_clause: 'expression',
  group_expressions: 'expression*',
  group_sets: 'data',
  aggregate_handling: 'data',
  having: 'expression',
  qualify: 'expression',
  sample: 'data',
}
const QUERIES: Readonly<Record<string, Parts>> = {
  SELECT_NODE: SELECT_PARTS,
  SET_OPERATION_NODE: {
    modifiers: 'modifier*',
    cte_map: 'ctes',
    setop_type: 'data',
    setop_all: 'data',
    left: 'query',
    right: 'query',
    children: 'query*',
  },
  RECURSIVE_CTE_NODE: {
    modifiers: 'modifier*',
    cte_map: 'ctes',
    cte_name: 'data',
    union_all: 'data',
    aliases: 'data',
    left: 'query',
    right: 'query',
    key_targets: 'expression*',
    payload_aggregates: 'expression*',
  },
}
const REF_PARTS: Parts = { alias: 'data', sample: 'data', column_name_alias: 'data' }
const TABLES: Readonly<Record<string, Parts>> = {
  BASE_TABLE: { ...REF_PARTS, catalog_name: 'data', schema_name: 'data', table_name: 'data', at_clause: 'at' },
  SUBQUERY: { ...REF_PARTS, subquery: 'statement' },
  JOIN: {
    ...REF_PARTS,
    left: 'table',
    right: 'table',
    condition: 'expression',
    join_type: 'data',
    ref_type: 'data',
    using_columns: 'data',
    delim_flipped: 'data',
  },
  TABLE_FUNCTION: { ...REF_PARTS, function: 'expression', with_ordinality: 'data' },
  EXPRESSION_LIST: { ...REF_PARTS, expected_names: 'data', expected_types: 'type*', values: 'expression**' },
  EMPTY: REF_PARTS,
  PIVOT: {
    ...REF_PARTS,
    source: 'table',
    aggregates: 'expression*',
    unpivot_names: 'data',
    pivots: 'pivot*',
    groups: 'data',
    include_nulls: 'data',
  },
  SHOW_REF: {
    ...REF_PARTS,
    catalog_name: 'data',
    schema_name: 'data',
    table_name: 'data',
    query: 'query',
    show_type: 'data',
  },
}
const CALL_PARTS: Parts = {
  function_name: 'data',
  schema: 'data',
  catalog: 'data',
  children: 'expression*',
  distinct: 'data',
}
/** By class; the type of such a node is its operator. */
const EXPRESSIONS: Readonly<Record<string, Parts>> = {
  BETWEEN: { input: 'expression', lower: 'expression', upper: 'expression' },
  CASE: { case_checks: 'case*', else_expr: 'expression' },
  CAST: { child: 'expression', cast_type: 'type', try_cast: 'data' },
  COLLATE: { child: 'expression', collation: 'data' },
  COLUMN_REF: { column_names: 'data' },
  COMPARISON: { left: 'expression', right: 'expression' },
  CONJUNCTION: { children: 'expression*' },
  CONSTANT: { value: 'data' },
  DEFAULT: {},
  FUNCTION: { ...CALL_PARTS, filter: 'expression', order_bys: 'modifier', is_operator: 'data', export_state: 'data' },
  LAMBDA: { lhs: 'expression', expr: 'expression', syntax_type: 'data' },
  OPERATOR: { children: 'expression*' },
  POSITIONAL_REFERENCE: { index: 'data' },
  STAR: {
    relation_name: 'data',
    exclude_list: 'data',
    qualified_exclude_list: 'data',
    rename_list: 'data',
    replace_list: 'replacement*',
    columns: 'data',
    expr: 'expression',
  },
  SUBQUERY: { subquery_type: 'data', subquery: 'statement', child: 'expression', comparison_type: 'data' },
  WINDOW: {
    ...CALL_PARTS,
    partitions: 'expression*',
    orders: 'order*',
    arg_orders: 'order*',
    start: 'data',
    end: 'data',
    start_expr: 'expression',
    end_expr: 'expression',
    offset_expr: 'expression',
    default_expr: 'expression',
    filter_expr: 'expression',
    ignore_nulls: 'data',
    exclude_clause: 'data',
  },
}
const OPERATORS: ReadonlySet<string> = new Set([
  'ARRAY_CONSTRUCTOR',
  'ARRAY_EXTRACT',
  'ARRAY_SLICE',
  'COMPARE_IN',
  'COMPARE_NOT_IN',
  'GROUPING_FUNCTION',
  'OPERATOR_COALESCE',
  'OPERATOR_IS_NOT_NULL',
  'OPERATOR_IS_NULL',
  'OPERATOR_NOT',
  'OPERATOR_NULLIF',
  'OPERATOR_TRY',
  'OPERATOR_UNPACK',
  'STRUCT_EXTRACT',
])
const MODIFIERS: Readonly<Record<string, Parts>> = {
  DISTINCT_MODIFIER: { distinct_on_targets: 'expression*' },
  ORDER_MODIFIER: { orders: 'order*' },
  LIMIT_MODIFIER: { limit: 'expression', offset: 'expression' },
  LIMIT_PERCENT_MODIFIER: { limit: 'expression', offset: 'expression' },
}
const TYPE_INFO_PARTS: Parts = {
  alias: 'data',
  name: 'data',
  catalog: 'data',
  schema: 'data',
  user_type_modifiers: 'data',
  width: 'data',
  scale: 'data',
  size: 'data',
  child_type: 'type',
  child_types: 'member*',
}
const TYPE_INFOS: Readonly<Record<string, Parts>> = Object.fromEntries(
  ['DECIMAL', 'LIST', 'STRUCT', 'ARRAY', 'STRING', 'UNBOUND'].map((name) => [`${name}_TYPE_INFO`, TYPE_INFO_PARTS]),
)

/** The allowed parts of a node; undefined when the node is not allowed. */
function partsOf(kind: Kind, node: Node): Parts | undefined {
  const { type } = node
  switch (kind) {
    case 'query':
      return known(QUERIES, type)
    case 'table':
      return known(TABLES, type)
    case 'modifier':
      return known(MODIFIERS, type)
    case 'type_info':
      return known(TYPE_INFOS, type)
    case 'expression':
      return node.class === 'OPERATOR' && !OPERATORS.has(String(type)) ? undefined : known(EXPRESSIONS, node.class)
    default:
      return RECORDS[kind]
  }
}
const RECORDS: Readonly<Partial<Record<Kind, Parts>>> = {
  statement: { node: 'query', named_param_map: 'data' },
  ctes: { map: 'cte_entry*' },
  cte_entry: { key: 'data', value: 'cte' },
  cte: { aliases: 'data', query: 'statement', materialized: 'data', key_targets: 'expression*' },
  order: { null_order: 'data', expression: 'expression' },
  case: { when_expr: 'expression', then_expr: 'expression' },
  replacement: { key: 'data', value: 'expression' },
  type: { id: 'data', type_info: 'type_info' },
  member: { first: 'data', second: 'type' },
  at: { unit: 'data', expr: 'expression' },
  pivot: {
    pivot_expressions: 'expression*',
    unpivot_names: 'data',
    entries: 'pivot_entry*',
    pivot_enum: 'data',
    subquery: 'query',
  },
  pivot_entry: { values: 'data', star_expr: 'expression', expr: 'expression', alias: 'data' },
}
const known = (nodes: Readonly<Record<string, Parts>>, name: unknown): Parts | undefined =>
  typeof name === 'string' && Object.hasOwn(nodes, name) ? nodes[name] : undefined

/** Parts that any node may have: its kind, its position in the text, its alias. */
const COMMON: ReadonlySet<string> = new Set(['type', 'class', 'query_location', 'alias'])

type Node = Readonly<Record<string, unknown>>

export interface SerializedSql {
  readonly error?: boolean
  readonly error_type?: string
  readonly error_message?: string
  readonly statements?: readonly unknown[]
}

/**
 * Walks the tree of one statement.
 *
 * @throws SqlRefusedError naming what is not allowed.
 */
export function refuseUnknown(statement: unknown, vocabulary: Vocabulary): void {
  const open: { readonly part: Part; readonly value: unknown; readonly depth: number; readonly inFrom?: boolean }[] = [
    { part: 'statement', value: statement, depth: 0 },
  ]
  let queries = 0
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { part, value, depth, inFrom } = next
    if (part === 'data' || value === null) continue
    if (depth > DEEPEST) {
      throw new SqlRefusedError(`the statement is nested more than ${DEEPEST} deep; write it in steps: WITH … AS (…)`)
    }
    if (part.endsWith('*')) {
      if (!Array.isArray(value)) throw unknownNode(part, value)
      for (const item of value) open.push({ part: part.slice(0, -1) as Part, value: item, depth })
      continue
    }
    const kind = part as Kind
    if (typeof value !== 'object' || Array.isArray(value)) throw unknownNode(kind, value)
    const node = value as Node
    const parts = partsOf(kind, node)
    if (parts === undefined) throw node.class === 'PARAMETER' ? parameter() : unknownNode(kind, node)
    if (kind === 'query') queries += 1
    if (queries > MOST_QUERIES) {
      throw new SqlRefusedError(`the statement has more than ${MOST_QUERIES} queries in it; ask in several statements`)
    }
    refuseNames(kind, node, inFrom ?? false, vocabulary)
    for (const [name, inner] of Object.entries(node)) {
      const of = parts[name]
      if (of === undefined && !COMMON.has(name)) throw unknownNode(kind, node, name)
      if (of !== undefined) {
        open.push({ part: of, value: inner, depth: depth + 1, inFrom: node.type === 'TABLE_FUNCTION' })
      }
    }
  }
}

function refuseNames(kind: Kind, node: Node, inFrom: boolean, vocabulary: Vocabulary): void {
  if (kind === 'expression' && (node.class === 'FUNCTION' || node.class === 'WINDOW')) {
    refuseFunction(node, inFrom, vocabulary)
  } else if (kind === 'table' && node.type === 'BASE_TABLE') refuseFile(node)
  else if (kind === 'table' && node.type === 'SHOW_REF') refuseShow(node)
  else if (kind === 'type') refuseType(node, vocabulary)
}

const lower = (name: unknown) => String(name ?? '').toLowerCase()

/** Functions whose second argument is the name of an aggregate. */
const TAKES_A_NAME: ReadonlySet<string> = new Set([
  'aggregate',
  'array_aggr',
  'array_aggregate',
  'list_aggr',
  'list_aggregate',
])

function refuseNamed(name: string, node: Node, vocabulary: Vocabulary): void {
  const [, aggregate] = (Array.isArray(node.children) ? node.children : []) as readonly Node[]
  const value = aggregate?.class === 'CONSTANT' ? (aggregate.value as Node).value : undefined
  if (typeof value === 'string' && vocabulary.functions.has(value.toLowerCase())) return
  throw new SqlRefusedError(`${name} takes the name of an allowed aggregate, written out: ${name}(list, 'sum')`)
}

function refuseFunction(node: Node, inFrom: boolean, vocabulary: Vocabulary): void {
  const name = lower(node.function_name)
  if (node.export_state === true) throw new SqlRefusedError(`${name}(…) EXPORT_STATE is refused: nothing here reads it`)
  if ((inFrom ? vocabulary.tableFunctions : vocabulary.functions).has(name)) {
    if (TAKES_A_NAME.has(name)) refuseNamed(name, node, vocabulary)
    return
  }
  const kinds = inFrom ? ['table', 'table_macro'] : ['scalar', 'aggregate', 'macro']
  const reason = kinds.map((each) => vocabulary.reasons.get(`${each} ${name}`)).find((each) => each !== undefined)
  if (reason !== undefined) throw new SqlRefusedError(`the function ${name} is refused: it ${reason}`)
  throw new SqlRefusedError(
    `no function ${name} can stand ${inFrom ? 'in FROM' : 'there'}; the functions: select function_name, description from duckdb_functions()`,
  )
}

/** DuckDB treats a table name that does not exist as a file: 'rows.parquet', schema.csv. */
function refuseFile(node: Node): void {
  const parts = [node.catalog_name, node.schema_name, node.table_name].filter((part) => part !== undefined).map(String)
  const odd = parts.find((part) => !/^[\p{L}\p{N}_$ -]*$/u.test(part))
  if (odd === undefined) return
  throw new SqlRefusedError(`${odd} is no table's name; files are out of reach from here, the tables: show all tables`)
}

/** `SHOW name` without a table of that name shows a setting, or one of these lists. */
const SHOWN: ReadonlySet<string> = new Set(['tables', 'databases', 'schemas', 'variables', '__show_tables_expanded'])

function refuseShow(node: Node): void {
  const name = lower(node.table_name).replaceAll('"', '')
  if (node.query !== undefined || name === '' || SHOWN.has(name)) return
  throw new SqlRefusedError(`SHOW ${name} is refused; SHOW can list tables, databases and schemas, or describe a table`)
}

function refuseType(node: Node, vocabulary: Vocabulary): void {
  const info = (node.type_info ?? {}) as Node
  const name = lower(node.id === 'UNBOUND' ? info.name : node.id).replaceAll(' ', '_')
  if (vocabulary.types.has(name)) return
  const reason = vocabulary.reasons.get(`type ${name}`)
  throw new SqlRefusedError(
    reason === undefined
      ? `no type is called ${name}; the types: select type_name from duckdb_types()`
      : `the type ${name} is refused: it ${reason}`,
  )
}

const parameter = () =>
  new SqlRefusedError('the statement has parameters (? or $name), and nothing gives them values; write the values in')

function unknownNode(part: Part, value: unknown, name?: string): SqlRefusedError {
  const node = (typeof value === 'object' && value !== null ? value : {}) as Node
  const what = [node.class, node.type, name].filter((each) => typeof each === 'string').join(' ')
  return new SqlRefusedError(
    `a part of the statement is refused, because it is not among the checked ones: ${what || part}`,
  )
}
