import { constants } from 'node:os'
import { LogFullError, LogReadOnlyError } from '../log.ts'
import { freeBytes } from './room.ts'

const MAP_FULL = -30792
const READERS_FULL = -30790

/** Gives LMDB's and the system's refusals a name and says what to do; other errors pass as they are. */
export function refusal(dir: string, error: unknown): unknown {
  const { message, code } = error as { message?: string; code?: number | string }
  const text = message ?? String(error)
  const is = (name: keyof typeof constants.errno, words: RegExp) =>
    code === constants.errno[name] || code === name || words.test(text)
  if (code === MAP_FULL || /MDB_MAP_FULL/.test(text)) {
    return new LogFullError(
      `lmdb:${dir}: expected less than 1 TiB, the largest a log may be. Delete old records. (${text})`,
    )
  }
  // LMDB calls a write that found room for its first part only an input/output error.
  const cut_short = is('EIO', /input\/output error/i) && freeBytes(dir) < ALMOST_FULL_BYTES
  if (cut_short || is('ENOSPC', /no space left/i) || is('EDQUOT', /quota/i) || is('EFBIG', /file too large/i)) {
    return new LogFullError(
      `lmdb:${dir}: expected room on the disk, found none. Nothing was written; make room and retry. (${text})`,
    )
  }
  if (is('EROFS', /read-only file system/i) || is('EACCES', /permission denied/i) || is('EPERM', /not permitted/i)) {
    return new LogReadOnlyError(
      `lmdb:${dir}: expected a folder that this user may write, found one that refuses it. ` +
        `Change its owner or mode, or open it with access 'read' where it lies on a read-only file system. (${text})`,
    )
  }
  if (code === READERS_FULL || /MDB_READERS_FULL/.test(text)) {
    return new Error(`lmdb:${dir}: expected at most 1,024 readers at a time, found no free place. Stop some. (${text})`)
  }
  return error
}

/** More than one transaction writes. */
const ALMOST_FULL_BYTES = 64 * 1024 * 1024
