import { DatabaseDamagedError } from './database-errors.ts'

/** What DuckDB finds in a damaged file, wherever it meets it. */
const FOUND =
  /corrupt database file|corrupted (?:\w+ segment|database|(?:unique )?ART index)|database file appears to be corrupted|could not read enough bytes from file/i
/**
 * How an error begins that may carry that: DuckDB wraps it in the error of what it was doing. The error of a question
 * that only mentions damage (`select error('Corrupt database file')`) never begins like these.
 */
const CARRIERS = /^(?:(?:IO|FATAL|INTERNAL|TransactionContext) Error: |Failed to append: )/

/** Other messages for a damaged file or one that this release cannot read. */
const SAYS_DAMAGE = [
  /^IO Error: The file ".*" exists, but it is not a valid DuckDB/s,
  /^IO Error: Cannot read database file/,
  /^IO Error: Corrupt (?!temporary file)/,
  /^IO Error: Could not read from file ".*": Is a directory/s,
  /^IO Error: Trying to read a database file with version number/,
  /^Serialization Error: /,
  /^(?:FATAL|INTERNAL|IO) Error: .*(?:replaying WAL|WAL file)/s,
]

/** An error that names the remedy, if `cause` says that the file is damaged or not a DuckDB file. */
export function damageIn(cause: unknown, file: string): DatabaseDamagedError | undefined {
  if (!(cause instanceof Error)) return undefined
  const { message } = cause
  const is_damage = (CARRIERS.test(message) && FOUND.test(message)) || SAYS_DAMAGE.some((says) => says.test(message))
  if (!is_damage) return undefined
  const lines = message.split('\n')
  return damaged(file, lines.find((line) => FOUND.test(line)) ?? message, { cause })
}

/** @param found what was found instead of a file that this release can read */
export function damaged(file: string, found: string, options?: ErrorOptions): DatabaseDamagedError {
  return new DatabaseDamagedError(
    `${file}: expected a whole DuckDB file that this release can read, found: ${found.split('\n', 1)[0]}. The tables are made again from the log: end every process that has the file open, remove it and ${file}.wal, and start plumbline run`,
    options,
  )
}
