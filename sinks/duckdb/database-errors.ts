/** The file is already open, in this process or in another that did not release it in time. */
export class DatabaseBusyError extends Error {
  override readonly name = 'DatabaseBusyError'
  readonly retry = 'later'
  /** The process to stop, if known. */
  readonly pid: number | undefined
  constructor(message: string, pid?: number, options?: ErrorOptions) {
    super(message, options)
    this.pid = pid
  }
}

export class NoDatabaseError extends Error {
  override readonly name = 'NoDatabaseError'
  readonly retry = 'never'
}

/** The file is damaged or this release cannot read it: it has to be rebuilt from the log. */
export class DatabaseDamagedError extends Error {
  override readonly name = 'DatabaseDamagedError'
  readonly retry = 'never'
}

/** The process that had the file open ended before it answered. Nothing is lost: ask again. */
export class DatabaseProcessEndedError extends Error {
  override readonly name = 'DatabaseProcessEndedError'
  readonly retry = 'later'
}
