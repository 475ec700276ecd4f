import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log, LogRecord, NewRecord } from '../../infra/log/port/log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { type BenchFolder, benchFolder } from '../folder.ts'
import { medianOf, type Result } from '../pairs.ts'
import { PARTITIONS } from '../tower-log.ts'
import { CANDIDATES, type Candidate, OURS } from './candidates.ts'
import { groupRewards, rewardObserved, rewardsGrouped } from './group-rewards.ts'
import { differenceOf, type Group, groupCount, groupsOf, messageOf } from './peers-job.ts'
import type { Command } from './toolchains.ts'

export interface RaceOptions {
  readonly bootstrap: string
  readonly messages: number
  readonly rounds: number
  /** Names of `CANDIDATES`. */
  readonly runners: readonly string[]
  readonly say: (line: string) => void
}

/** What a program reports when it has ended. */
interface Told {
  readonly messages: number
  readonly groups: number
  readonly seconds: number
  /** Processor time of all its threads, from the first message on. */
  readonly cpu_seconds: number
  readonly first_ms: number
  /** If a program measures it: how often it committed. */
  readonly commits?: number
  /** If it waits for commits: how long. */
  readonly commit_seconds?: number
}

interface Run {
  readonly candidate: Candidate
  readonly rate: Rate
  readonly told: Told
  readonly groups: readonly Group[]
}

/** Messages per second of the clock, and per second of the program's processor time. */
type Rate = { readonly [seconds in 'wall' | 'cpu']: number }

const JOB = 'the peers’ job, exactly once, with changelog and journal'
const MESSAGES_TOPIC = 'messages'
const LOOK_MS = 20
const PATIENCE_MS = 900_000

/**
 * All programs do the peers' job, one after the other, in processes of their own, round after round. The clock runs
 * from the first message that a program gets until a reader of committed records only has the last group.
 *
 * @throws Error when a program's groups are not the expected ones.
 */
export async function race(options: RaceOptions): Promise<Result[]> {
  const { messages, rounds, say } = options
  const prefix = `race-${process.pid}-${Date.now()}`
  const address = `kafka://${options.bootstrap}/${prefix}`
  // The peers use no compression, so the messages are made without it too.
  const log = await openKafkaLog({ address, env: { ...process.env, PLUMBLINE_KAFKA_COMPRESSION: 'none' } })
  const folder = await benchFolder()
  try {
    const runners = CANDIDATES.filter(({ name }) => options.runners.includes(name))
    const commands = new Map<string, Command>()
    for (const { name, command } of runners) commands.set(name, await command(say))
    await makeMessages(log, messages, say)
    const expected = groupsOf(messages)
    const rates = new Map<string, Rate[]>(runners.map(({ name }) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      let ours: readonly Group[] | undefined
      // The order is reversed each round. Groups are compared with ours if ours ran before, else with the expected.
      for (const candidate of round % 2 === 0 ? runners : runners.toReversed()) {
        const command = commands.get(candidate.name) as Command
        const run = await runOnce(log, candidate, command, { ...options, address, prefix, round, folder })
        const difference = differenceOf(run.groups, ours ?? expected)
        if (difference !== undefined) throw new Error(`${candidate.name}, round ${round + 1}: ${difference}`)
        if (candidate.name === OURS) ours = run.groups
        rates.get(candidate.name)?.push(run.rate)
        say(`round ${round + 1}: ${candidate.name}: ${shown(run.rate)}${commitsOf(run.told)}`)
      }
    }
    return resultsOf(runners, rates, rounds)
  } finally {
    await log.close()
    await folder.remove()
  }
}

/** Appends the same messages to two topics: as plain messages and as events. */
async function makeMessages(log: Log, messages: number, say: (line: string) => void): Promise<void> {
  say(`making ${messages.toLocaleString('en-US')} messages, twice`)
  await log.createTopics([MESSAGES_TOPIC, rewardObserved.type].map((name) => ({ name, partitions: PARTITIONS })))
  const producer = await log.producer({ transactional_id: 'race' })
  for (let from = 0; from < messages; from += 5_000) {
    const transaction = producer.begin()
    for (let sequence = from; sequence < Math.min(messages, from + 5_000); sequence++) {
      const { key, headers, value } = messageOf(sequence)
      const partition = partitionOf(key, PARTITIONS)
      transaction.append(MESSAGES_TOPIC, partition, { key, headers: [], value } satisfies NewRecord)
      transaction.append(rewardObserved.type, partition, { key, headers, value })
    }
    await transaction.commit()
  }
  await producer.close()
}

async function runOnce(
  log: Log,
  candidate: Candidate,
  command: Command,
  race: RaceOptions & {
    readonly address: string
    readonly prefix: string
    readonly round: number
    readonly folder: BenchFolder
  },
): Promise<Run> {
  const groups = groupCount(race.messages)
  const run = `${candidate.name.replace(/\W/g, '_')}_${race.round}`
  const output = candidate.input === 'events' ? rewardsGrouped(run).type : `groups-${run}`
  await log.createTopics(
    candidate.input === 'events'
      ? topicsOf([rewardObserved, rewardsGrouped(run)], [groupRewards(run)], PARTITIONS)
      : [{ name: output, partitions: PARTITIONS }],
  )
  const folder = race.folder.fresh(run)
  mkdirSync(folder)
  const child = spawn(command.program, command.args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: folder,
    env: {
      ...process.env,
      ...command.env,
      BENCH_LOG: race.address,
      BENCH_RUN: run,
      BENCH_BROKERS: race.bootstrap,
      BENCH_INPUT: `${race.prefix}.${MESSAGES_TOPIC}`,
      BENCH_OUTPUT: `${race.prefix}.${output}`,
      BENCH_MESSAGES: String(race.messages),
      BENCH_GROUPS: String(groups),
      BENCH_NAME: `${race.prefix}.${run}`,
      BENCH_FOLDER: folder,
    },
  })
  let printed = ''
  let complained = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complained = (complained + text).slice(-4_096)
  })
  const ended = once(child, 'close') as Promise<[number | null]>
  let code: number | null | undefined
  void ended.then(([status]) => {
    code = status
  })
  try {
    const output_reader = new OutputReader(log, output)
    const late_ms = Date.now() + PATIENCE_MS
    while (output_reader.records.length < groups && code === undefined) {
      if (Date.now() > late_ms) throw new Error(`${run}: ${output_reader.records.length} of ${groups} groups came`)
      if ((await output_reader.look()) === 0) await sleep(LOOK_MS)
    }
    let last_ms = Date.now()
    await ended
    if (code !== 0) throw new Error(`${run} ended with ${code}: ${complained}`)
    // Groups that arrive after the expected number are duplicates, which the comparison reports.
    if ((await output_reader.look()) > 0) last_ms = Date.now()
    const told = JSON.parse(printed.trim().split('\n').at(-1) ?? '') as Told
    if (told.groups !== groups)
      throw new Error(`${run}: expected ${groups} groups, it says that it made ${told.groups}`)
    return {
      candidate,
      told,
      rate: { wall: race.messages / ((last_ms - told.first_ms) / 1e3), cpu: race.messages / told.cpu_seconds },
      groups: output_reader.records.map(({ value }) => JSON.parse(Buffer.from(value ?? []).toString()) as Group),
    }
  } finally {
    if (code === undefined) child.kill('SIGKILL')
  }
}

/** Reads the committed records from the beginning. */
class OutputReader {
  readonly records: LogRecord[] = []
  readonly #log: Log
  readonly #topic: string
  readonly #next = new Array<bigint>(PARTITIONS).fill(0n)

  constructor(log: Log, topic: string) {
    this.#log = log
    this.#topic = topic
  }

  /** @returns how many records have arrived since the last look */
  async look(): Promise<number> {
    const before = this.records.length
    for (const [partition, from] of this.#next.entries()) {
      const { records, next } = await this.#log.read({ topic: this.#topic, partition, from, max_bytes: 2 ** 20 })
      this.records.push(...records)
      this.#next[partition] = next
    }
    return this.records.length - before
  }
}

const shown = ({ wall, cpu }: Rate) =>
  `${Math.round(wall).toLocaleString('en-US')} messages/s, ${Math.round(cpu).toLocaleString('en-US')} per CPU-second`

function commitsOf({ commits, commit_seconds, seconds }: Told): string {
  if (commits === undefined) return ''
  if (commit_seconds === undefined) return `, ${commits} commits in ${seconds.toFixed(1)} s`
  return `, waited ${commit_seconds.toFixed(1)} of ${seconds.toFixed(1)} s for ${commits} commits`
}

/** Ours alone, then compared with each of the others: by wall time, to which the goals apply, and by processor time. */
function resultsOf(
  runners: readonly Candidate[],
  rates: ReadonlyMap<string, readonly Rate[]>,
  rounds: number,
): Result[] {
  return (['wall', 'cpu'] as const).flatMap((seconds) => {
    const of = (name: string) => (rates.get(name) ?? []).map((rate) => rate[seconds])
    return runners.map(({ name, what, goal }): Result => {
      const [ours, theirs] = [of(OURS), of(name)]
      const alone = name === OURS
      const values = alone ? ours : ours.map((rate, round) => rate / (theirs[round] as number))
      const median = medianOf(values)
      const wanted = seconds === 'wall' ? (goal ?? null) : null
      return {
        what: JOB,
        against: alone ? null : what,
        unit: 'messages',
        seconds,
        pairs: rounds,
        median,
        low: Math.min(...values),
        high: Math.max(...values),
        rate: medianOf(ours),
        ceiling_rate: alone ? null : medianOf(theirs),
        goal: wanted,
        reached: wanted === null ? null : median >= wanted,
      }
    })
  })
}
