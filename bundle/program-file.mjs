/**
 * Which file to start for the command line. The program is started from a bundle: a few files instead of a thousand
 * small ones, which takes less than half the time. A bundle is a folder whose name is a hash of everything it was made
 * from, so that it cannot be out of date: changed sources have another name.
 *
 * Plain JavaScript without packages, for the guard, which asks at every start.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, utimesSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const MAIN = 'cli/main.ts'
/** The folders of the program; the directions of their imports are in .dependency-cruiser.mjs. */
export const SOURCES = [
  'cli',
  'environments',
  'infra',
  'pipeline',
  'processors',
  'schemas',
  'sinks',
  'sources',
  'streams',
]
const MAKE = fileURLToPath(new URL('make.mjs', import.meta.url))
const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Where the bundles of a checkout are, and how their names start. */
export const bundlesOf = (root) => join(root, '.guard')
export const PREFIX = 'program-'

/** The file of a bundle that holds this source file. */
export const entryOf = (source) => source.replace(/\.ts$/, '.mjs').replaceAll('/', '-')

/**
 * Makes the bundle first if there is none of the sources as they are. The program starts from its sources where a bundle
 * cannot be made, e.g. in a checkout that this user may not write, and with --debug, because stack traces then name the
 * lines of the sources.
 *
 * @param {readonly string[]} args the command line
 * @param {{ node?: string, root?: string, say?: (message: string) => void }} options the Node that makes the bundle;
 *   the checkout; who is told why it cannot be made, unless the checkout may not be written
 * @returns {string} a path
 */
export function programFile(args, { node = process.execPath, root = ROOT, say = () => {} } = {}) {
  const source = join(root, MAIN)
  if (args.includes('--debug')) return source
  const folder = join(bundlesOf(root), `${PREFIX}${hashOf(root)}`)
  const file = join(folder, entryOf(MAIN))
  if (!existsSync(folder)) {
    if (!canWrite(bundlesOf(root))) return source
    const { status, stderr, error } = spawnSync(node, [MAKE, root, folder], { encoding: 'utf8' })
    if (status !== 0) {
      say(`the program starts from its sources, for it could not be bundled: ${error?.message ?? stderr.trim()}`)
      return source
    }
  }
  stillUsed(file)
  return file
}

/** Notes that processes run from this file's bundle: making another one removes those that are long unused. */
export function stillUsed(file) {
  const folder = dirname(file)
  if (!basename(folder).startsWith(PREFIX)) return
  try {
    utimesSync(folder, new Date(), new Date())
  } catch {
    // A user without permission to write here removes nothing here either.
  }
}

/** Covers everything that a bundle depends on: the sources, the packages and how it is made. */
function hashOf(root) {
  const hash = createHash('sha256')
  const add = (name, file) => hash.update(`${name}\n`).update(readFileSync(file)).update('\0')
  add('package-lock.json', join(root, 'package-lock.json'))
  add('make.mjs', MAKE)
  add('program-file.mjs', fileURLToPath(import.meta.url))
  for (const folder of SOURCES) {
    for (const name of readdirSync(join(root, folder), { recursive: true }).sort()) {
      if (name.endsWith('.ts') && !name.endsWith('.test.ts')) add(`${folder}/${name}`, join(root, folder, name))
    }
  }
  return hash.digest('hex').slice(0, 16)
}

function canWrite(folder) {
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}
