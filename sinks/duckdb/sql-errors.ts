/** The statement is not one that `plumbline sql` runs. Nothing was executed. */
export class SqlRefusedError extends Error {
  override readonly name = 'SqlRefusedError'
  readonly retry = 'never'
}
/** The statement took longer than its limit and was interrupted. */
export class SqlTimeoutError extends Error {
  override readonly name = 'SqlTimeoutError'
  readonly retry = 'never'
  static after(limit_ms: number, options?: ErrorOptions): SqlTimeoutError {
    const message = `the statement was interrupted after ${limit_ms / 1000} s; ask for less, or raise the limit`
    return new SqlTimeoutError(message, options)
  }
}
/** DuckDB could not run the statement: syntax, unknown names, types, memory. */
export class SqlFailedError extends Error {
  override readonly name = 'SqlFailedError'
  readonly retry = 'never'
}
/** The process that was asked has ended before its answer was complete. */
export class SqlEndedError extends SqlFailedError {
  /** @param why it has ended, if known */
  constructor(why: string | undefined) {
    super(
      why === undefined
        ? 'the connection ended before the answer was complete: the process that has the tables open was stopped, or closed the connection of a slow reader; query again'
        : `the question, or one asked at the same time, ended the process that has the tables open: ${why}. Nothing is lost; ask for less`,
    )
  }
}
