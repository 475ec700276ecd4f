import { DatabaseDamagedError } from './database-errors.ts'

/** DuckDB's messages for a damaged file. An error that a query causes never begins like these. */
const SAYS_DAMAGE = [
  /^IO Error: The file ".*" exists, but it is not a valid DuckDB/s,
  /^IO Error: Corrupt /,
  /^IO Error: Could not read enough bytes/,
  /^IO Error: Could not read from file ".*": Is a directory/s,
  /^IO Error: Trying to read a database file with version number/,
  /^Serialization Error: /,
  /^(?:FATAL|INTERNAL|IO) Error: .*(?:replaying WAL|WAL file)/s,
  /^FATAL Error: .*has been invalidated.*(?:Corrupt database file|Could not read enough bytes)/s,
]

/** An error that names the remedy, if `cause` says that the file is damaged or not a DuckDB file. */
export function damageIn(cause: unknown, file: string): DatabaseDamagedError | undefined {
  if (!(cause instanceof Error) || !SAYS_DAMAGE.some((says) => says.test(cause.message))) return undefined
  return damaged(file, cause.message, { cause })
}

/** @param found what was found instead of a file that this release can read */
export function damaged(file: string, found: string, options?: ErrorOptions): DatabaseDamagedError {
  return new DatabaseDamagedError(
    `${file}: expected a whole DuckDB file that this release can read, found: ${found.split('\n', 1)[0]}. The tables are made again from the log: end every process that has the file open, remove it and ${file}.wal, and start plumbline run`,
    options,
  )
}
