import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { lstatSync, mkdirSync, statSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { http } from '../../infra/http/node-http.ts'
import { readOwner } from './owner-record.ts'
import { OWNER_PATH, type Owner, PROTOCOL } from './sql-protocol.ts'

/** sun_path holds 104 bytes on macOS and 108 on Linux, the final zero included. */
const LONGEST_SOCKET_BYTES = 103
/** A stopped owner still accepts connections, but never answers. */
const ANSWER_MS = 5_000

/**
 * The socket of a file's owner: `<file>.sock` or, if that path is too long for a socket, a path derived from the file's
 * in a private folder of this user under the temporary folder.
 *
 * @throws Error when that folder is not private to this user, or its path is too long as well
 */
export function socketOf(file: string): string {
  const beside = `${resolve(file)}.sock`
  if (Buffer.byteLength(beside) <= LONGEST_SOCKET_BYTES) return beside
  const folder = ownFolder(join(tmpdir(), `plumbline-${process.getuid?.() ?? 'user'}`))
  const socket = join(folder, `${createHash('sha256').update(resolve(file)).digest('hex').slice(0, 16)}.sock`)
  if (Buffer.byteLength(socket) > LONGEST_SOCKET_BYTES) {
    throw new Error(`${socket}: a socket's path may have ${LONGEST_SOCKET_BYTES} bytes; set TMPDIR to a shorter folder`)
  }
  return socket
}

function ownFolder(folder: string): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const found = lstatSync(folder)
  const own = process.getuid === undefined || found.uid === process.getuid()
  if (found.isDirectory() && own && (found.mode & 0o077) === 0) return folder
  throw new Error(
    `${folder}: expected a folder that only this user can open; remove it, or set TMPDIR to another folder`,
  )
}

/**
 * The process that has the file open, as it describes itself. Undefined if none answers: there is none, or it is just
 * starting, or it is stopped. DuckDB's lock tells which.
 */
export async function findOwner(file: string): Promise<(Owner & { readonly socket: string }) | undefined> {
  const noted = readOwner(file)?.socket
  for (const socket of new Set([socketIfAny(file), noted])) {
    if (socket === undefined) continue
    const owner = await whoAnswers(socket)
    if (owner?.protocol === PROTOCOL && owner.inode === inodeOf(file)) return { ...owner, socket }
  }
  return undefined
}

function socketIfAny(file: string): string | undefined {
  try {
    return socketOf(file)
  } catch {
    return undefined // then no owner has a socket there either
  }
}

/** Distinguishes the file from an earlier one of the same name, or one in another container. */
export const inodeOf = (file: string): number | undefined => statSync(file, { throwIfNoEntry: false })?.ino

async function whoAnswers(socketPath: string): Promise<Owner | undefined> {
  try {
    const asked = http.request({ socketPath, path: OWNER_PATH, signal: AbortSignal.timeout(ANSWER_MS) })
    asked.on('error', () => {}) // after the response has arrived, its reader gets the error
    asked.end()
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    let text = ''
    for await (const part of response.setEncoding('utf8')) text += part
    return JSON.parse(text) as Owner
  } catch {
    return undefined
  }
}
