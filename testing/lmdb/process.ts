/**
 * A separate process for the tests that kill, stop and starve processes:
 * `node test-process.ts ROLE DIR JSON`. Reports what it did as lines of JSON.
 */

import { closeSync, existsSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ChunkBuilder } from '../../infra/log/lmdb/chunk.ts'
import { lmdb } from '../../infra/log/lmdb/lmdb-js.ts'
import { type LmdbLogOptions, openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { Store } from '../../infra/log/lmdb/store.ts'
import { openTables } from '../../infra/log/lmdb/tables.ts'
import { FencedError, type Log } from '../../infra/log/port/log.ts'

export interface ProduceArgs {
  readonly topic: string
  readonly name: string
  readonly transactions: number
  readonly records: number
  readonly value_bytes: number
}

export interface WorkArgs {
  readonly topic: string
  readonly output: string
  readonly group: string
  readonly session_timeout_ms: number
}

/** Where in a write transaction the process sends itself the signal. */
export interface InsideArgs {
  readonly topic: string
  readonly signal: NodeJS.Signals
  readonly when: 'before commit' | 'after commit'
}

const [role, dir = '', json = '{}'] = process.argv.slice(2)

function say(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}

async function open(options: Partial<LmdbLogOptions> = {}): Promise<Log> {
  return await openLmdbLog({ dir, ...options })
}

/** Transaction i appends its records to partitions 0 and 1 alternately, each value starting with `name:i:`. */
async function produce(args: ProduceArgs): Promise<void> {
  const log = await open()
  const producer = await log.producer({ transactional_id: args.name })
  say({ ready: true })
  for (let i = 0; i < args.transactions; i += 1) {
    const transaction = producer.begin()
    for (let k = 0; k < args.records; k += 1) {
      const value = Buffer.from(`${args.name}:${i}:${k}`.padEnd(args.value_bytes))
      transaction.append(args.topic, k % 2, { key: null, headers: [], value })
    }
    await transaction.commit()
    say({ committed: i })
  }
  await log.close()
}

/** Copies values to partition 0 of `output` until it is killed. */
async function work(args: WorkArgs): Promise<void> {
  const log = await open()
  const { group, topic, output, session_timeout_ms } = args
  let member = await log.join({ group, topics: [topic], session_timeout_ms })
  const producer = await log.producer({ transactional_id: `worker-${process.pid}` })
  for (;;) {
    const { records, claim, gained, lost, positions } = await member.poll({ max_bytes: 200, wait_ms: 50 })
    if (gained.length + lost.length > 0) say({ gained, lost })
    if (records.length === 0) continue
    const transaction = producer.begin()
    for (const { key, headers, value } of records) transaction.append(output, 0, { key, headers, value })
    transaction.positions(claim, positions)
    try {
      await transaction.commit()
      say({ copied: records.length })
    } catch (error) {
      if (!(error instanceof FencedError)) throw error
      say({ fenced: error.message })
      // The partition's new owner will read these records again. Start over from the committed positions.
      await member.leave()
      member = await log.join({ group, topics: [topic], session_timeout_ms })
    }
  }
}

/** Gets a signal inside an LMDB write transaction, with its puts made but not committed, or right after it. */
function inside(args: InsideArgs): void {
  const tables = openTables(dir, false, 'flushed')
  const store = new Store(tables, `lmdb:${dir}`)
  const epoch = tables.env.transactionSync(() => store.apply({ kind: 'fence', transactional_id: 'inside' })) as number
  const appends = [0, 1].map((partition) => {
    const builder = new ChunkBuilder()
    for (let k = 0; k < 50; k += 1) builder.add({ key: null, headers: [], value: Buffer.from(`inside:0:${k}`) })
    return { topic: args.topic, partition, chunks: builder.finish() }
  })
  const progress = {
    claimed: [],
    standalone: [{ group: 'inside', positions: [{ topic: args.topic, partition: 0, next: 50n }] }],
  }
  tables.env.transactionSync(() => {
    store.apply({ kind: 'commit', transactional_id: 'inside', epoch, appends, progress })
    if (args.when === 'before commit') process.kill(process.pid, args.signal)
  })
  if (args.when === 'after commit') process.kill(process.pid, args.signal)
  say({ went_on: true })
}

/** Opens and closes the folder for reading, until it is killed. */
async function openOften(): Promise<void> {
  say({ ready: true })
  for (let times = 1; ; times += 1) {
    await (await open({ access: 'read' })).close()
    if (times % 100 === 0) say({ opened: times })
  }
}

/** Creates a log in each of these folders below `dir` when the folder appears, and keeps it open until it is killed. */
async function createEach(args: { names: readonly string[] }): Promise<void> {
  for (const name of args.names) {
    while (!existsSync(join(dir, name))) await sleep(1)
    const log = await open({ dir: join(dir, name) })
    await log.createTopics([{ name: 't', partitions: 1 }])
    await log.producer({ transactional_id: 'create' })
    say({ created: name })
  }
  await sleep(1e9)
}

/** Takes every place in LMDB's table of readers, until it is killed. */
async function takeAllReaders(): Promise<void> {
  const { env } = openTables(dir, true, 'flushed')
  const { nativeAddon } = lmdb as unknown as {
    readonly nativeAddon: { readonly Txn: new (env: unknown, flags: number) => object }
  }
  const taken: object[] = []
  let refused: unknown
  while (refused === undefined) {
    try {
      taken.push(new nativeAddon.Txn((env as unknown as { readonly env: object }).env, MDB_RDONLY))
    } catch (error) {
      refused = error
    }
  }
  say({ taken: taken.length, refused: String(refused) })
  await sleep(1e9)
  say({ taken: taken.length })
}

const MDB_RDONLY = 0x20000

/** Tries to open, append and read; reports the errors. */
async function attempt(args: { topic: string; access: 'read' | 'write'; lock_wait_ms?: number }): Promise<void> {
  const outcome = async (act: () => Promise<unknown>) =>
    await act().then(
      () => 'done',
      (error: Error) => `${error.name}: ${error.message}`,
    )
  let log: Log | undefined
  const opened = await outcome(async () => {
    log = await open({ access: args.access, lock_wait_ms: args.lock_wait_ms ?? 10_000 })
  })
  const appended = await outcome(async () => {
    const transaction = (await log?.producer({ transactional_id: 'attempt' }))?.begin()
    transaction?.append(args.topic, 0, { key: null, headers: [], value: Buffer.from('attempt') })
    await transaction?.commit()
  })
  const read = await outcome(async () => {
    const found = await log?.read({ topic: args.topic, partition: 0, from: 0n, max_bytes: 1e6 })
    say({ records: found?.records.length ?? 0 })
  })
  say({ opened, appended, read })
  process.exit(0)
}

/** Opens each of these folders below `dir`, reads all records and appends one; reports the errors. */
async function useEach(args: { names: readonly string[] }): Promise<void> {
  for (const name of args.names) {
    say({ name, begins: true })
    let error = 'none'
    let records = 0
    try {
      const log = await open({ dir: join(dir, name) })
      try {
        for (const { name: topic, partitions } of await log.topics()) {
          for (let partition = 0; partition < partitions; partition += 1) {
            records += (await log.read({ topic, partition, from: 0n, max_bytes: 1e9 })).records.length
          }
        }
        if ((await log.integrity?.())?.damaged.length !== 0) error = 'RecordDamagedError'
        const transaction = (await log.producer({ transactional_id: 'each' })).begin()
        transaction.append('t', 0, { key: null, headers: [], value: Buffer.from('each') })
        await transaction.commit()
      } finally {
        await log.close()
      }
    } catch (failure) {
      error = failure instanceof Error ? failure.name : String(failure)
    }
    say({ name, error, records })
  }
}

/**
 * Sets the number that LMDB's lock file gives as the last transaction, as a process that opens the folder does. To be
 * done from outside: closing the lock file would drop the locks of a process that has the log open.
 */
function setLastTransaction(args: { back: number }): void {
  const file = openSync(join(dir, 'lock.mdb'), 'r+')
  const number = Buffer.alloc(8)
  readSync(file, number, 0, 8, 8)
  const last = Number(number.readBigUInt64LE())
  number.writeBigUInt64LE(BigInt(Math.max(0, last - args.back)))
  writeSync(file, number, 0, 8, 8)
  closeSync(file)
  say({ last })
}

/** Closes the log while a request is pending, as a program that stops early does. */
async function closeEarly(): Promise<void> {
  const log = await open()
  void log.producer({ transactional_id: 'early' })
  await log.close()
  say({ closed: true })
}

const args = JSON.parse(json)
if (role === 'produce') await produce(args)
else if (role === 'work') await work(args)
else if (role === 'inside') inside(args)
else if (role === 'attempt') await attempt(args)
else if (role === 'use each') await useEach(args)
else if (role === 'close early') await closeEarly()
else if (role === 'open often') await openOften()
else if (role === 'create each') await createEach(args)
else if (role === 'take all readers') await takeAllReaders()
else if (role === 'set last transaction') setLastTransaction(args)
else throw new Error(`test-process.ts: expected a role, got ${role}`)
