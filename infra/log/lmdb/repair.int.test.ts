import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkRepaired, PAGE, resumes, type SoundLog, soundLog } from '../../../testing/damaged-logs.ts'
import { readAll } from '../conformance/steps.ts'
import { LogDamagedError } from '../port/log.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { PageFile } from './page-file.ts'
import { type Repaired, repairLog } from './repair.ts'

const LIMIT = { timeout: 120_000 }
const root = mkdtempSync(join(tmpdir(), 'plumbline-repair-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let sound: SoundLog
beforeAll(async () => {
  sound = await soundLog(join(root, 'sound'))
})

const changed = (change: (bytes: Buffer) => void): Buffer => {
  const bytes = Buffer.from(sound.bytes)
  change(bytes)
  return bytes
}

let made = 0
async function repair(bytes: Buffer): Promise<Repaired & { readonly outcome: string }> {
  const [from, to] = [join(root, `damaged ${made}`), join(root, `repaired ${made++}`)]
  mkdirSync(from)
  writeFileSync(join(from, 'data.mdb'), bytes)
  const repaired = await repairLog({ from, to, resumes })
  expect(readFileSync(join(from, 'data.mdb')).equals(bytes)).toBe(true)
  return { ...repaired, outcome: await checkRepaired(sound, to, repaired) }
}

/** Pages of one kind: 1 branches, 2 leaves, 4 values. */
function pagesOf(kind: number): number[] {
  const pages = Array.from({ length: sound.bytes.byteLength / PAGE }, (_, at) => at)
  return pages.filter((at) => at > 1 && sound.bytes.readUInt16LE(at * PAGE + 18) === kind)
}

test(
  'a sound log is copied whole: records with their offsets, positions, the id and the numbers of topics',
  LIMIT,
  async () => {
    const { outcome, lost, problems, nameless, unchecked } = await repair(sound.bytes)
    expect({ outcome, lost, problems, nameless, unchecked }).toEqual({
      outcome: 'whole',
      ...{ lost: [], problems: [], nameless: 0, unchecked: [] },
    })
    const ids = async (dir: string) => {
      const log = await openLmdbLog({ dir, access: 'read' })
      const topics = await log.topics()
      await log.close()
      return topics
    }
    expect(await ids(join(root, 'repaired 0'))).toEqual(await ids(join(root, 'sound')))
  },
)

test('wherever a file is truncated, the intact records are copied, and the rest is named', LIMIT, async () => {
  const { byteLength } = sound.bytes
  const outcomes: string[] = []
  for (const part of [0.03, 0.2, 0.4, 0.6, 0.8, 0.95]) {
    const cut = Math.floor(byteLength * part)
    const repaired = await repair(sound.bytes.subarray(0, cut)).catch((error: unknown) => error)
    outcomes.push(repaired instanceof LogDamagedError ? 'nothing left' : (repaired as { outcome: string }).outcome)
  }
  // LMDB writes to other pages each time. A short file may lack every copy of the topic names; the end of a long one
  // may hold free pages only. In between, a longer file never has less.
  const better = ['nothing left', 'in part', 'whole']
  expect(outcomes).toEqual(outcomes.toSorted((a, b) => better.indexOf(a) - better.indexOf(b)))
  expect(outcomes).toContain('in part')
  expect(outcomes[0]).not.toBe('whole')
})

test(
  'without both meta pages every record is found, and a reader’s positions are left to its journal',
  LIMIT,
  async () => {
    const repaired = await repair(changed((bytes) => bytes.fill(0, 0, 2 * PAGE)))
    expect(repaired).toMatchObject({ lost: [], nameless: 0, positions: 0 })
    expect(repaired.problems.join('\n')).toMatch(/meta page 0 .*\n.*meta page 1 /)
    expect(repaired.problems.join('\n')).toMatch(/the position of reader in .*its journal tells where it resumes/)
  },
)

test(
  'a changed byte of a value costs its chunk alone, which is named; the log reads and verifies past it',
  LIMIT,
  async () => {
    const [at = 0] = pagesOf(4)
    const { lost, outcome } = await repair(
      changed((bytes) => bytes.writeUInt8(bytes.readUInt8(at * PAGE + 900) ^ 1, at * PAGE + 900)),
    )
    expect(outcome).toBe('in part')
    expect(lost).toMatchObject([{ topic: 'large', problem: 'no whole copy of them was found' }])
    const log = await openLmdbLog({ dir: join(root, `repaired ${made - 1}`) })
    expect(await log.integrity?.()).toMatchObject({ damaged: [], lost: [{ topic: 'large', from: lost[0]?.from }] })
    await log.close()
  },
)

test.each([
  ['leads to itself', (page: number) => page],
  ['leads beyond the end of the file', () => 2 ** 40],
])('a branch that %s does not stop the repair: its chunks are found on their pages', LIMIT, async (_, child) => {
  const branches = pagesOf(1)
  expect(branches.length).toBeGreaterThan(0)
  const repaired = await repair(
    changed((bytes) => {
      for (const page of branches) {
        const node = page * PAGE + 24 + bytes.readUInt16LE(page * PAGE + 24)
        bytes.writeUInt32LE(child(page) % 2 ** 32, node)
        bytes.writeUInt16LE(Math.floor(child(page) / 2 ** 32), node + 4)
      }
    }),
  )
  expect(repaired.lost).toEqual([])
  expect(repaired.topics.reduce((sum, { found }) => sum + found, 0)).toBeGreaterThan(0)
})

test(
  'a topic with another name in one copy of the catalog keeps the name that most of the copies have',
  LIMIT,
  async () => {
    const file = new PageFile(join(root, 'sound', 'data.mdb'))
    const { newest } = newestCatalog(file)
    file.close()
    const repaired = await repair(
      changed((bytes) => {
        const at = bytes.indexOf(Buffer.from('topic\0small'), newest * PAGE)
        expect(at).toBeLessThan((newest + 1) * PAGE)
        bytes.write('b', at + 10)
      }),
    )
    expect(repaired.topics.map(({ name }) => name)).toEqual(['small', 'large', '_journal.reader', 'empty'])
    expect(repaired.problems.join('\n')).toMatch(/topic smalb with number 1: most copies of the catalog call it small/)
  },
)

/** The most recently written leaf page with topics. */
function newestCatalog(file: PageFile): { newest: number } {
  let [newest, transaction] = [0, -1]
  for (let at = 2; at < file.pages; at++) {
    const page = file.page(at) as Buffer
    if (page.readUInt16LE(18) !== 2 || !page.includes('topic\0small')) continue
    if (Number(page.readBigUInt64LE(8)) > transaction) {
      newest = at
      transaction = Number(page.readBigUInt64LE(8))
    }
  }
  return { newest }
}

test('nothing is written into a folder that is not empty, or when no record can be read', LIMIT, async () => {
  const from = join(root, 'zeros')
  mkdirSync(from)
  writeFileSync(join(from, 'data.mdb'), Buffer.alloc(10 * PAGE))
  const to = join(root, 'never made')
  await expect(repairLog({ from, to, resumes })).rejects.toThrow(/expected a log of which some is whole, found none/)
  expect(existsSync(to)).toBe(false)
  await expect(repairLog({ from: join(root, 'sound'), to: from, resumes })).rejects.toThrow(/expected an empty folder/)
})

/** A log of two topics; no copy of its catalog has the second. */
async function namelessLog(from: string): Promise<void> {
  const log = await openLmdbLog({ dir: from })
  await log.createTopics([
    { name: 'other', partitions: 3 },
    { name: 'rollout.requested', partitions: 3 },
  ])
  const producer = await log.producer({ transactional_id: 'test' })
  const transaction = producer.begin()
  const headers = [{ name: 'ce_type', value: 'rollout.requested' }]
  for (const value of ['a', 'b'])
    transaction.append('rollout.requested', 1, { key: null, headers, value: Buffer.from(value) })
  transaction.append('other', 0, { key: null, headers: [], value: Buffer.from('c') })
  await transaction.commit()
  await producer.close()
  await log.close()
  // Every copy of its entry, in a page or in a freed one.
  const file = join(from, 'data.mdb')
  const bytes = readFileSync(file)
  const entry = Buffer.from('topic\0rollout.requested')
  let copies = 0
  for (let at = bytes.indexOf(entry); at >= 0; at = bytes.indexOf(entry, at + 1)) {
    bytes.write('lost!', at)
    copies++
  }
  expect(copies).toBeGreaterThan(0)
  writeFileSync(file, bytes)
}

test.each([
  [
    'the copy of the names',
    undefined,
    /no copy of the catalog has rollout.requested: their names are from topics.json/,
  ],
  ['its events', 'no copy', /name of topic number 2 is lost: its events are of rollout.requested/],
  ['its events, where the copy is of another log', '{"log_id":"other","topics":[]}', /name of topic number 2 is lost/],
] as const)('a topic whose name is lost has it from %s, and all of its records', LIMIT, async (_, copy, says) => {
  const [from, to] = [join(root, `nameless ${made}`), join(root, `named ${made++}`)]
  await namelessLog(from)
  if (copy !== undefined) writeFileSync(join(from, 'topics.json'), copy)
  const { nameless, problems, topics } = await repairLog({ from, to, resumes })
  expect(nameless).toBe(0)
  expect(problems.join('\n')).toMatch(says)
  const counts = { records: 2, unchecksummed: 0, found: 0, may_lack_end: false }
  expect(topics).toContainEqual({ name: 'rollout.requested', ...counts })
  const repaired = await openLmdbLog({ dir: to, access: 'read' })
  expect(await repaired.endOffsets('rollout.requested')).toEqual([0n, 2n, 0n])
  expect((await readAll(repaired, 'rollout.requested', 1)).map(({ value }) => String(value))).toEqual(['a', 'b'])
  await repaired.close()
})
