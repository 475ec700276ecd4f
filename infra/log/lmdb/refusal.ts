import { constants } from 'node:os'
import { LogFullError, LogReadOnlyError, LogUnreachableError } from '../port/log.ts'
import { freeBytes } from './room.ts'
import { logDamaged } from './sound-file.ts'

const MAP_FULL = -30792
const READERS_FULL = -30790
/** MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_PANIC, MDB_VERSION_MISMATCH, MDB_INVALID. */
const DAMAGED: readonly unknown[] = [-30797, -30796, -30795, -30794, -30793]

/** Turns errors of LMDB and the system into named errors that tell what to do; returns other errors unchanged. */
export function refusal(dir: string, error: unknown): unknown {
  const { message, code, retry } = error as { message?: string; code?: number | string; retry?: unknown }
  // One of our own errors.
  if (retry !== undefined) return error
  const text = message ?? String(error)
  const is = (name: keyof typeof constants.errno, words: RegExp) =>
    code === constants.errno[name] || code === name || words.test(text)
  if (code === MAP_FULL || /MDB_MAP_FULL/.test(text)) {
    return new LogFullError(
      `lmdb:${dir}: expected less than 1 TiB, the largest a log may be. Delete old records. (${text})`,
    )
  }
  // A write that found room for its first part only is an input/output error to LMDB.
  const cut_short = is('EIO', /input\/output error/i) && freeBytes(dir) < ALMOST_FULL_BYTES
  if (cut_short || is('ENOSPC', /no space left/i) || is('EDQUOT', /quota/i) || is('EFBIG', /file too large/i)) {
    return new LogFullError(
      `lmdb:${dir}: expected room on the disk, found none. Nothing was written; make room and retry. (${text})`,
    )
  }
  if (is('EROFS', /read-only file system/i) || is('EACCES', /permission denied/i) || is('EPERM', /not permitted/i)) {
    return new LogReadOnlyError(
      `lmdb:${dir}: expected a folder that this user may write, found one that refuses it. ` +
        `Change its owner or mode, or work in a copy; reading it needs no more (in code: access 'read'). (${text})`,
    )
  }
  // SQLite (the claim on the folder) reports only that it cannot open its file.
  if (is('EMFILE', /too many open files/i) || is('ENFILE', /unable to open database file/)) {
    return new LogUnreachableError(
      `lmdb:${dir}: expected to open a file of the log, was not allowed to: this process or this machine has too many open. ` +
        `Raise the limit: ulimit -n 4096. (${text})`,
    )
  }
  // Catalog values are JSON: a damaged one may fail to parse (the SyntaxError below).
  if (DAMAGED.includes(code) || /MDB_(PAGE_NOTFOUND|CORRUPTED|PANIC|VERSION_MISMATCH|INVALID)/.test(text)) {
    return logDamaged(dir, text)
  }
  if (error instanceof SyntaxError) return logDamaged(dir, `an entry of its catalog cannot be read (${text})`)
  if (code === READERS_FULL || /MDB_READERS_FULL/.test(text)) {
    return new Error(`lmdb:${dir}: expected at most 1,024 readers at a time, found no free place. Stop some. (${text})`)
  }
  // lmdb-js ignores that LMDB refused to begin a transaction, and fails at the first use of it.
  if (/No transaction to renew/.test(text)) {
    return new Error(
      `lmdb:${dir}: expected LMDB to begin a transaction, it refused. Another thread of this process may have the folder ` +
        `open for reading only: close it there, or open for writing first. (${text})`,
    )
  }
  return error
}

/** More than a single transaction writes. */
const ALMOST_FULL_BYTES = 64 * 1024 * 1024
