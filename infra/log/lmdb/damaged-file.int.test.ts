import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Processes } from '../../../testing/lmdb/processes.ts'
import { append, numbered, values } from '../conformance/steps.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { expectSoundFile } from './sound-file.ts'

/** Data files that were cut, zeroed or changed: each in its own folder, opened by a real process that may die of it. */

const LIMIT = { timeout: 120_000 }
const PAGE = 4096
const WHOLE = { error: 'none', records: 20 * 21 }

const source = new Processes()
afterAll(() => source[Symbol.asyncDispose]())
const sound = join(source.dir, 'sound')
let original: Buffer

beforeAll(async () => {
  const log = await openLmdbLog({ dir: sound, durability: 'survives_kill_only' })
  await log.createTopics([{ name: 't', partitions: 2 }])
  for (let i = 0; i < 20; i += 1) await append(log, 't', i % 2, [...numbered(20, `${i}-`), 'x'.repeat(9_000)])
  await log.close()
  original = readFileSync(join(sound, 'data.mdb'))
})

/** Opens one damaged copy of the log for each entry, all in one process, which must survive to the end. */
async function useDamaged(damages: readonly [name: string, damaged: () => Buffer][]): Promise<Outcome[]> {
  await using processes = new Processes()
  for (const [name, damaged] of damages) {
    const dir = join(processes.dir, name)
    mkdirSync(dir)
    cpSync(join(sound, 'lock-word.json'), join(dir, 'lock-word.json'))
    writeFileSync(join(dir, 'data.mdb'), damaged())
  }
  const child = processes.start('use each', { names: damages.map(([name]) => name) })
  const status = await child.exited
  expect({ status, errors: child.errors, last: child.said.at(-1) }).toMatchObject({ status: 0 })
  return child.said.filter(({ error }) => error !== undefined) as unknown as Outcome[]
}

interface Outcome {
  readonly name: string
  readonly error: string
  readonly records: number
}

const changed = (change: (bytes: Buffer) => void) => () => {
  const bytes = Buffer.from(original)
  change(bytes)
  return bytes
}

test('a file truncated anywhere is refused with the remedy, and crashes no process', LIMIT, async () => {
  const lengths = Array.from({ length: 24 }, (_, i) => Math.floor((original.byteLength * i) / 24) + (i % 3) * 700)
  const outcomes = await useDamaged(lengths.map((length) => [`cut at ${length}`, () => original.subarray(0, length)]))
  expect(outcomes.filter(({ error }) => error === 'LogDamagedError').length).toBeGreaterThan(20)
  // A cut may remove only unused pages at the end.
  for (const { error, records } of outcomes) if (error !== 'LogDamagedError') expect({ error, records }).toEqual(WHOLE)
})

test('the error for a damaged file names what is wrong, how much of it remains, and what to do', LIMIT, async () => {
  await using processes = new Processes()
  cpSync(sound, processes.dir, { recursive: true })
  truncateSync(join(processes.dir, 'data.mdb'), 10 * PAGE + 5)
  await expect(openLmdbLog({ dir: processes.dir, access: 'read' })).rejects.toThrow(
    /expected a sound log file, found a damaged one: the file has 40965 bytes of \d+ .*Nothing was changed/,
  )
  await expect(openLmdbLog({ dir: processes.dir })).rejects.toMatchObject({
    retry: 'never',
    remedy: expect.stringMatching(/put a backup in its place/),
  })
})

test('a missing data file next to a log’s other files is refused, not recreated', LIMIT, async () => {
  await using processes = new Processes()
  cpSync(sound, processes.dir, { recursive: true })
  rmSync(join(processes.dir, 'data.mdb'))
  await expect(openLmdbLog({ dir: processes.dir })).rejects.toThrow(/data.mdb is empty or not there/)
})

test('a page of the trees that is zeroed, or another page’s, is refused, and crashes no process', LIMIT, async () => {
  const trees = [0, 1]
  for (let at = 2; at < original.byteLength / PAGE; at += 1) {
    const kind = original.readUInt16LE(at * PAGE + 18)
    if (kind === 1 || kind === 2) trees.push(at)
  }
  const some = trees.filter((_, i) => i < 2 || i % Math.ceil(trees.length / 12) === 0)
  const outcomes = await useDamaged([
    ...some.map((at): [string, () => Buffer] => [
      `zeroed ${at}`,
      changed((bytes) => bytes.fill(0, at * PAGE, (at + 1) * PAGE)),
    ]),
    ...some.map((at): [string, () => Buffer] => [
      `other ${at}`,
      changed((bytes) => original.copy(bytes, at * PAGE, 3 * PAGE, 4 * PAGE)),
    ]),
  ])
  expect(outcomes.slice(0, 2).map(({ error }) => error)).toEqual(['LogDamagedError', 'LogDamagedError'])
  expect(outcomes.filter(({ error }) => error === 'LogDamagedError').length).toBeGreaterThan(4)
  // Pages of an earlier state of the trees are free, so changing them is no damage.
  for (const { error, records } of outcomes) if (error !== 'LogDamagedError') expect({ error, records }).toEqual(WHOLE)
})

test('flipped bits anywhere never crash a process', LIMIT, async () => {
  let seed = 7
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
  const flips = Array.from({ length: 24 }, (_, i): [string, () => Buffer] => {
    const at = i % 2 === 0 ? random(original.byteLength) : random(original.byteLength / PAGE) * PAGE + random(64)
    return [`flip ${i}`, changed((bytes) => bytes.writeUInt8((bytes[at] as number) ^ (1 << random(8)), at))]
  })
  for (const outcome of await useDamaged(flips)) {
    if (outcome.error === 'none') expect(outcome).toMatchObject(WHOLE)
    else expect(['LogDamagedError', 'RecordDamagedError']).toContain(outcome.error)
  }
})

test('the check before opening never refuses a log that is being written', LIMIT, async () => {
  await using processes = new Processes()
  const log = await openLmdbLog({ dir: processes.dir, durability: 'survives_kill_only' })
  await log.createTopics([{ name: 't', partitions: 2 }])
  const producer = processes.start('produce', {
    topic: 't',
    name: 'p',
    transactions: 300,
    records: 4,
    value_bytes: 9_000,
  })
  await producer.says(({ ready }) => ready === true)
  let looks = 0
  const ended = producer.exited.then(() => true)
  while (!(await Promise.race([ended, new Promise<false>((resolve) => setImmediate(() => resolve(false)))]))) {
    expectSoundFile(processes.dir)
    looks += 1
  }
  expect(looks).toBeGreaterThan(20)
  expect((await values(log, 't', 0)).length).toBe(600)
  await log.close()
})
