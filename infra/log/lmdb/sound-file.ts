import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { LogDamagedError } from '../port/log.ts'
import { PageFile, type SoundMeta, TREE_BYTES, treeIn } from './page-file.ts'
import { PageSet, storedValue, walkTree } from './tree-walk.ts'

/**
 * Refuses a damaged or truncated data file before LMDB maps it: the system kills a process with SIGBUS if it reads
 * beyond the end of a mapped file. Checks the size, both meta pages and the first pages of the trees. If the file is
 * shorter than the meta page states, it checks all pages of the trees: that is damage only if a missing one is used.
 *
 * @throws LogDamagedError
 */
export function expectSoundFile(dir: string): void {
  let problem: Finding | undefined
  for (let look = 0; look < LOOKS; look += 1) {
    const found = findingIn(dir)
    if (found === undefined) return
    if (found !== 'written meanwhile') {
      // A meta page can be read while it is written. A problem seen twice in one transaction is not caused by that.
      if (problem?.what === found.what && problem.transaction === found.transaction) throw logDamaged(dir, found.what)
      problem = found
    }
    Atomics.wait(PAUSE, 0, 0, 5)
  }
  // LMDB itself writes to the file all the time, so it can be opened.
}

export function logDamaged(dir: string, problem: string): LogDamagedError {
  return new LogDamagedError(
    `lmdb:${dir}: expected a sound log file, found a damaged one: ${problem}. Nothing was changed.`,
    'put a backup in its place; or copy its intact records into a new folder: ./plumbline repair --to NEWDIR',
  )
}

/** Every log that has been opened has both. */
const TABLES = ['chunks', 'catalog']
const LOOKS = 10
const PAUSE = new Int32Array(new SharedArrayBuffer(4))
/** A megabyte: a person does not notice the time to read it. */
const FIRST_PAGES = 256

interface Finding {
  readonly what: string
  readonly transaction: number
}

/** From the second commit on, a transaction's pages are reused: what was found until then may be of another one. */
function findingIn(dir: string): Finding | 'written meanwhile' | undefined {
  const path = join(dir, 'data.mdb')
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  // Opening a log for writing creates this note; without it, the log may still be in creation.
  const was_there = existsSync(join(dir, 'lock-word.json'))
  if (size === 0) return was_there ? { what: `${path} is empty or not there`, transaction: 0 } : undefined
  const file = new PageFile(path)
  try {
    const found = problemIn(file, was_there ? TABLES : [])
    const same = found === undefined || found.transaction === newestIn(file)
    return same ? found : 'written meanwhile'
  } finally {
    file.close()
  }
}

/** 0 if a meta page is damaged, as in the findings about it. */
function newestIn(file: PageFile): number {
  const [first, second] = file.metas()
  return 'problem' in first || 'problem' in second ? 0 : Math.max(first.transaction, second.transaction)
}

function problemIn(file: PageFile, tables: readonly string[]): Finding | undefined {
  const metas = file.metas()
  for (const meta of metas) if ('problem' in meta) return { what: meta.problem, transaction: 0 }
  const [first, second] = metas as readonly [SoundMeta, SoundMeta]
  const newest = first.transaction > second.transaction ? first : second
  const transaction = newest.transaction
  const apart = Math.abs(first.transaction - second.transaction)
  // Both are 0 in a log that has never been written to.
  if (apart !== 1 && transaction !== 0) {
    return {
      what: `its meta pages hold transactions ${first.transaction} and ${second.transaction}, expected neighbours`,
      transaction,
    }
  }
  const cut = file.pages <= newest.last_page
  const problems: string[] = []
  const report = (problem: string) => problems.push(problem)
  const budget = { pages: cut ? Number.POSITIVE_INFINITY : FIRST_PAGES }
  const used = new PageSet()
  const walk = { report, budget, transaction, used }
  const free = [...walkTree(file, newest.free, walk)].map((leaf) => storedValue(file, leaf))
  const named: string[] = []
  for (const leaf of walkTree(file, newest.main, walk)) {
    const table = leaf.is_tree ? storedValue(file, leaf) : undefined
    if (table?.byteLength !== TREE_BYTES) report('its list of tables cannot be read')
    else for (const _ of walkTree(file, treeIn(table), walk));
    named.push(leaf.key.toString('latin1').replace(/\0$/, ''))
    if (problems.length > 0) break
  }
  const missing = tables.find((table) => !named.includes(table))
  if (problems.length === 0 && missing !== undefined) report(`it has no table ${missing}`)
  if (problems.length === 0) for (const list of free) checkFreePages(list, newest.last_page, used, report)
  if (problems.length === 0) return undefined
  const [problem = ''] = problems
  if (!cut) return { what: problem, transaction }
  const expected = (newest.last_page + 1) * file.page_bytes
  return { what: `the file has ${file.bytes} bytes of ${expected} (${problem})`, transaction }
}

/**
 * A list of free pages: a count, then that many numbers. A negative number is the length of a run, and the next number
 * is the run's first page. LMDB overwrites the listed pages, so none of them may be in use.
 */
function checkFreePages(
  list: Buffer | undefined,
  last: number,
  used: PageSet,
  report: (problem: string) => void,
): void {
  const numbers = (list?.byteLength ?? 0) >> 3
  if (list === undefined || numbers === 0 || list.readBigUInt64LE(0) >= BigInt(numbers)) {
    report('a list of its free pages cannot be read')
    return
  }
  for (let i = 1; i <= Number(list.readBigUInt64LE(0)); i += 1) {
    let page = Number(list.readBigInt64LE(i * 8))
    const run = page < 0 ? -page : 1
    if (page < 0 && ++i < numbers) page = Number(list.readBigInt64LE(i * 8))
    if (page === 0) continue
    const sound = page >= 2 && page + run - 1 <= last
    for (let k = 0; sound && k < run; k += 1) {
      if (used.add(page + k)) continue
      report(`page ${page + k} is listed as free, and it is in use`)
      return
    }
    if (!sound) {
      report(`page ${page} is listed as free, and there is none`)
      return
    }
  }
}
