import { closeSync, existsSync, openSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { LockFile } from '../../lock-file.ts'
import { makeFolder } from '../../make-folder.ts'
import { LogBusyError } from '../port/log.ts'

/**
 * Lets the processes of one PID namespace at a time use a log folder. LMDB tells processes apart by their PIDs, and the
 * PIDs of two containers overlap: each would take the other's slot in LMDB's table of readers.
 *
 * A PID has no meaning in another namespace. So a live process is recognised by a lock, which the kernel releases when
 * it dies: a read transaction of an empty SQLite file that is named after its namespace. A process of another
 * namespace tests it by requesting an exclusive lock on that file.
 *
 * @returns a function to call when the folder is closed
 * @throws LogBusyError when a process of another namespace uses the folder
 */
export function claimFolder(dir: string): () => void {
  const claim = CLAIMS.get(dir) ?? { users: 0, lock: claimed(dir) }
  claim.users += 1
  CLAIMS.set(dir, claim)
  let released = false
  return () => {
    if (released) return
    released = true
    claim.users -= 1
    if (claim.users > 0) return
    CLAIMS.delete(dir)
    claim.lock?.close()
  }
}

const CLAIMS = new Map<string, { users: number; readonly lock: LockFile | undefined }>()

/** Opening is quick; a longer wait means that another process was stopped while opening. */
const OPENING_WAIT_MS = 10_000

/** Undefined where there are no namespaces, or where the folder cannot be written and LMDB has no table of readers. */
function claimed(dir: string): LockFile | undefined {
  const namespace = ownNamespace()
  const claims = join(dir, 'namespaces')
  const own = `${namespace}@${hostname().replace(/[^\w.-]/g, '_')}`
  if (namespace === undefined || !canMake(claims, 'opening') || !canMake(claims, own)) return undefined
  // One process at a time: otherwise two that start together would refuse each other.
  const release = openingAlone(dir)
  try {
    for (const name of readdirSync(claims)) {
      const [, other, host] = /^(\d+)@(.*)$/.exec(name) ?? []
      if (other === undefined || other === namespace) continue
      if (isAtWork(join(claims, name))) throw otherNamespace(dir, host)
      rmSync(join(claims, name), { force: true })
    }
    const lock = new LockFile(join(claims, own), OPENING_WAIT_MS)
    if (!lock.takeShared()) throw stillOpening(dir)
    return lock
  } finally {
    release()
  }
}

/**
 * Excludes other processes that open or close the folder's environment. The last process that closes it destroys the
 * mutexes in LMDB's lock file, and one that opens it at that moment would use the destroyed ones (EINVAL).
 *
 * @returns a function to call afterwards
 * @throws LogBusyError when another process was stopped meanwhile
 */
export function openingAlone(dir: string): () => void {
  const claims = join(dir, 'namespaces')
  // A folder that was removed meanwhile must not come back.
  if (!existsSync(claims) || !canMake(claims, 'opening')) return () => {}
  const lock = new LockFile(join(claims, 'opening'), OPENING_WAIT_MS)
  const alone = lock.takeAlone()
  if (!alone) lock.close()
  if (!alone) throw stillOpening(dir)
  return () => lock.close()
}

function isAtWork(file: string): boolean {
  const lock = new LockFile(file, 0)
  try {
    return !lock.takeAlone()
  } finally {
    lock.close()
  }
}

function ownNamespace(): string | undefined {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0]
  } catch {
    return undefined
  }
}

/** If a full disk has no room for the claim file, the folder is used without one, so that records can be deleted. */
function canMake(folder: string, name: string): boolean {
  try {
    makeFolder(folder)
    closeSync(openSync(join(folder, name), 'a'))
    return true
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT'].includes(code)) return false
    throw error
  }
}

function stillOpening(dir: string): LogBusyError {
  return new LogBusyError(
    `lmdb:${dir}: waited ${OPENING_WAIT_MS / 1_000} s for another process that opens or closes it. Resume it (kill -CONT) or end it, then retry.`,
  )
}

function otherNamespace(dir: string, host: string | undefined): LogBusyError {
  return new LogBusyError(
    `lmdb:${dir}: expected processes of one container at a time, found one of another at work (${host}): LMDB tells ` +
      'processes apart by their numbers, and containers have equal ones.',
    'run it in that container (docker exec), or share its process numbers (docker run --pid container:NAME; in compose ' +
      'pid: "service:NAME"), or stop the other first; for many containers at once use Kafka: --log kafka://HOST:PORT',
  )
}
