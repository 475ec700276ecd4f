import { spawnSync } from 'node:child_process'
import { lstatSync, mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')
const BECOME = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']

/**
 * In a private mount namespace, replaces the closed folder above the checkout by an open one that contains only the
 * checkout, at its usual path. Nothing outside that folder changes.
 */
const OPENED = `
umask 022
mount --bind "$1" "$3" && mount -t tmpfs -o mode=755 none "$2" && mkdir -p "$1" && mount --bind "$3" "$1" || exit 1
shift 3
exec "$@"`

/** The outermost folder on the path to the checkout that other users may not enter; undefined if there is none. */
function closedFolder(): string | undefined {
  const way: string[] = []
  for (let at = ROOT; at !== dirname(at); at = dirname(at)) way.unshift(at)
  return way.find((folder) => (lstatSync(folder).mode & 0o001) === 0)
}

/** The command prefix that starts a program as a user who owns nothing here, or why there is none. */
function findAnotherUser(): { readonly within: readonly string[]; readonly refused: string | undefined } {
  if (process.getuid?.() !== 0) return { within: [], refused: 'needs root, to become another user' }
  const closed = closedFolder()
  let within = BECOME
  if (closed !== undefined) {
    if (tmpdir().startsWith(closed))
      return { within: [], refused: `${closed} is closed to others, and TMPDIR is in it` }
    const aside = mkdtempSync(join(tmpdir(), 'plumbline-checkout-'))
    process.on('exit', () => rmdirSync(aside))
    within = ['unshare', '--mount', 'sh', '-c', OPENED, 'sh', ROOT, closed, aside, ...BECOME]
  }
  const [program = '', ...words] = [...within, process.execPath, '--check', fileURLToPath(import.meta.url)]
  const { status, stderr, error } = spawnSync(program, words, { encoding: 'utf8' })
  const refused =
    status === 0 ? undefined : `another user cannot start this checkout: ${error?.message ?? stderr.trim()}`
  return { within, refused }
}

export const anotherUser = findAnotherUser()
/** Suffix for the name of a test that is skipped without another user. */
export const WHY_SKIPPED = anotherUser.refused === undefined ? '' : ` (skipped: ${anotherUser.refused})`
