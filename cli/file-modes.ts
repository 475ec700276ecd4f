import { isShared } from '../pipeline/data-folder.ts'

/**
 * Sets the umask so that every new file and folder is for this user alone, whichever library or child process creates
 * it: LMDB, DuckDB, a broker. A shared data folder keeps the caller's umask. Existing files keep their permissions.
 */
export function keepFilesPrivate({ data, shared }: { readonly data: string; readonly shared: boolean }): void {
  if (shared || isShared(data)) return
  process.umask(process.umask() | OTHERS)
}

/** All permissions of group and others. */
const OTHERS = 0o077
