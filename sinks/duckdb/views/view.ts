import type { EventType } from '../../../schemas/declare/event.ts'

/** A view for users: its SQL, and the meaning of each column. */
export interface View {
  readonly name: string
  readonly about: string
  /** In the order of the SELECT. */
  readonly columns: Readonly<Record<string, string>>
  /** A SELECT. */
  readonly sql: string
  /** Folds whose state it reads from `internal.state`, and their positions from `internal.processor_positions`. */
  readonly folds?: readonly string[]
  /** For a view whose joins are too slow for every question; see `kept-rows.ts`. */
  readonly kept?: Kept
}

/** Which rows of a view are stored, and how they follow from the events. The SQL of the view reads both tables. */
export interface Kept {
  /** In the schema `internal`: every key, as `group_id`, and as `kept` whether its rows are stored. */
  readonly keys_table: string
  /** In the schema `internal`: the stored rows. Its name begins with `kept_`. */
  readonly rows_table: string
  /** Every event that the rows depend on; each has the partition key `group_id`. */
  readonly events: readonly EventType[]
  /** Of these, those without which a key has no rows: a key has one of them. */
  readonly rows_from: readonly EventType[]
  /** A SELECT of the view's rows for the keys in a table expression with the column `group_id`, from the events alone. */
  readonly rowsOf: (keys: string) => string
  /** Columns that are sums of floats: their last digits depend on the order in which DuckDB adds. */
  readonly summed: readonly string[]
}
