import { createHash } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { LogRecord } from '../infra/log/port/log.ts'
import { headerOf } from '../infra/runtime/internal/json-records.ts'
import { replay } from '../infra/runtime/rebuild/replay.ts'
import { type Place, type Replayed, ReplayRefusedError } from '../infra/runtime/rebuild/replay-options.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { blobsOf, folderBlobs } from './blob-stores.ts'
import { isKafka, openDataFolder, openLog, openLogForReading } from './data-folder.ts'
import { durationOf } from './lag.ts'
import { offsetVector } from './offset-vector.ts'
import { type GlobalOptions, globals, stopSignal } from './options.ts'
import { wiringOf } from './pipeline.ts'
import { number, Progress } from './progress.ts'
import { typedTime } from './typed-time.ts'
import { UsageError } from './usage-error.ts'

interface ReplayCommand {
  from?: string
  to?: string
  as?: string
  speed: number
  sourcesOnly: boolean
  fromOffset?: string
  fromTime?: string
  episode?: string
  group?: string
}

export function addReplay(program: Command): void {
  program
    .command('replay')
    .description('emit a recorded log again: the whole of it, so that verify passes on the copy, or its sources only')
    .option(
      '--from <address>',
      'a data folder, lmdb:DIR with its blobs beside it, or kafka://…; the data folder when left out',
    )
    .option('--to <address>', 'where to: a data folder, lmdb:DIR or kafka://…; made when it is not there')
    .option('--as <name>', 'instead of --to: under another name beside the log, in FROM/replays/NAME')
    .option('--speed <x>', 'times the original spacing (by ce_time), or max', speedOf, Number.POSITIVE_INFINITY)
    .option('--sources-only', 'only what cannot be computed again, less ticks; `run` computes the rest', false)
    .option(
      '--from-offset <offsets>',
      'part of the sources: from these offsets; a number, JSON or @FILE as of lag --json',
    )
    .option('--from-time <time>', 'part of the sources: events with this ce_time or a later one')
    .option('--group <key>', 'part of the sources: events with this key')
    .option('--episode <key>', 'the same, by the name that a gameplay key has')
    .addHelpText(
      'after',
      '\nGoes as far as the log goes when it starts. Ctrl-Z (or SIGTSTP) pauses between two transactions, `fg` (SIGCONT)\n' +
        'goes on, and the pause does not count; so does the same command after a kill: each record comes once. Again\n' +
        'later, it brings what has come since, unless a run has been at work in the copy.\n' +
        'Spacing: each clock for itself; between the last virtual event and the first one by the wall lies no time.\n' +
        'A part of a log is always its sources only: journals count records from the first.\n' +
        '\nExamples:\n  ./plumbline replay --to data/copy\n  ./plumbline --data data/copy verify\n' +
        '  ./plumbline replay --sources-only --speed 60 --to data/again\n',
    )
    .action(async (options: ReplayCommand, command: Command) => {
      const global = globals(command)
      const part = await partOf(options)
      const what = options.sourcesOnly || part.is_part ? 'sources' : 'whole'
      if (what === 'whole' && global.partitions !== undefined) {
        throw new UsageError(
          '--partitions: the journals of a whole log count by the partitions that it has',
          'add --sources-only; `run` computes the rest',
        )
      }
      const target = targetOf(options, global)
      const from = await openFrom(options.from, global)
      try {
        if (from.log.address === addressOf(target)) {
          throw new UsageError(`--to ${target}: that is the log itself`, 'name another place, or use --as NAME')
        }
        const to = await openTo(target, global)
        try {
          const progress = new Progress('replay', { silent: global.json })
          const wiring = await wiringOf({})
          const result = await replay({
            from,
            to,
            name: nameOf(from.log.address, what, part.text),
            events: wiring.events,
            vocabulary,
            what,
            ...(global.partitions === undefined ? {} : { partitions: global.partitions }),
            ...(part.wanted === undefined ? {} : { wanted: part.wanted }),
            ...(part.starts === undefined ? {} : { starts: part.starts }),
            speed: options.speed,
            signal: stopSignal(),
            paused: pauseOnStop(),
            onProgress: ({ done, of, left_ms }) => {
              if (left_ms === undefined) progress.at(done, of)
              else progress.at(done, undefined, `of ${number(of)}, ${durationOf(left_ms)} left`)
            },
          })
          report(result, to.log.address, what, global.json, progress)
        } finally {
          await to.close()
        }
      } catch (error) {
        if (error instanceof ReplayRefusedError)
          throw new UsageError(error.message, 'see ./plumbline replay --help', { cause: error })
        throw error
      } finally {
        await from.log.close()
      }
    })
}

function report(result: Replayed, address: string, what: string, json: boolean, progress: Progress): void {
  if (json) process.stdout.write(`${JSON.stringify({ ...result, to: address, what })}\n`)
  const { records, blobs, missing_blobs, complete } = result
  const missing =
    missing_blobs > 0 ? `; ${number(missing_blobs)} blobs are missing in the log that was replayed, too` : ''
  const end = complete ? '' : '; stopped before the end, the same command goes on'
  progress.done(`${number(records)} records and ${number(blobs)} blobs into ${address}${missing}${end}`)
}

function speedOf(text: string): number {
  if (text === 'max') return Number.POSITIVE_INFINITY
  const speed = Number(text.replace(/x$/i, ''))
  if (!(speed > 0 && Number.isFinite(speed)))
    throw new UsageError(`--speed ${text}: expected a number above 0, or max`, 'e.g. --speed 1, --speed 60')
  return speed
}

interface Part {
  readonly is_part: boolean
  /** Identifies the part within the name of the replay. */
  readonly text: string
  readonly wanted?: (record: LogRecord) => boolean
  readonly starts?: ReadonlyMap<string, readonly bigint[]>
}

async function partOf({ fromOffset, fromTime, episode, group }: ReplayCommand): Promise<Part> {
  const given = Object.entries({ fromOffset, fromTime, episode, group }).filter(([, value]) => value !== undefined)
  if (given.length > 1)
    throw new UsageError(
      'replay: more than one part was asked for',
      'use one of --from-offset, --from-time, --group, --episode',
    )
  const text = JSON.stringify(given)
  const key = episode ?? group
  if (key !== undefined) return { is_part: true, text, wanted: (record) => record.key === key }
  if (fromTime !== undefined) {
    const from_ms = typedTime(fromTime, '--from-time')
    return { is_part: true, text, wanted: (record) => Date.parse(headerOf(record, 'ce_time') ?? '') >= from_ms }
  }
  if (fromOffset !== undefined) return { is_part: true, text, ...(await startsOf(fromOffset)) }
  return { is_part: false, text }
}

async function startsOf(text: string): Promise<Pick<Part, 'starts' | 'wanted'>> {
  if (/^\d+$/.test(text)) return { wanted: ({ offset }) => offset >= BigInt(text) }
  const vector = await offsetVector(text, '--from-offset')
  return { starts: new Map(Object.entries(vector).map(([topic, offsets]) => [topic, offsets.map(BigInt)])) }
}

function targetOf({ to, as, from }: ReplayCommand, global: GlobalOptions): string {
  if (as === undefined && to !== undefined) return to
  if (as === undefined || to !== undefined) throw new UsageError('replay: expected --to or --as', 'e.g. --to data/copy')
  if (!/^[\w.-]+$/.test(as) || as.startsWith('.'))
    throw new UsageError(`--as ${as}: expected a name for a folder`, 'letters, digits, - and _')
  if (isKafka(from)) throw new UsageError(`--as ${as}: there is no folder beside ${from}`, 'name a place with --to')
  // Next to the log, where its blobs are.
  const beside = from?.startsWith('lmdb:') ? dirname(resolve(from.slice('lmdb:'.length))) : resolve(from ?? global.data)
  return join(beside, 'replays', as)
}

/** Replays of the same part of the same log share a name, so that an interrupted one can resume. */
function nameOf(address: string, what: string, part: string): string {
  return `replay/${createHash('sha256')
    .update(JSON.stringify([address, what, part]))
    .digest('hex')
    .slice(0, 16)}`
}

/** A Kafka log has no folder next to it, so its blobs are those of the data folder. */
async function openFrom(from: string | undefined, global: GlobalOptions): Promise<Place> {
  if (isKafka(from)) return { log: await openLog(from, 'read'), blobs: blobsOf(global) }
  if (from?.startsWith('lmdb:')) return { log: await openLog(from, 'read'), blobs: blobsBeside(from) }
  const options = from === undefined ? global : { data: from }
  return { log: await openLogForReading(options), blobs: blobsOf(options) }
}

async function openTo(to: string, global: GlobalOptions): Promise<Place & { close(): Promise<void> }> {
  if (isKafka(to)) return openDataFolder({ ...global, log: to }, { create: true })
  if (!to.startsWith('lmdb:')) return openDataFolder({ data: to }, { create: true })
  const log = await openLog(to)
  return { log, blobs: blobsBeside(to), close: () => log.close() }
}

function addressOf(target: string): string {
  if (isKafka(target)) return target
  return `lmdb:${target.startsWith('lmdb:') ? resolve(target.slice('lmdb:'.length)) : join(resolve(target), 'log')}`
}

const blobsBeside = (address: string) => folderBlobs(dirname(resolve(address.slice('lmdb:'.length))))

/** Ctrl-Z stops the process between two transactions, so that it never holds the log's lock while it is stopped. */
function pauseOnStop(): () => (() => Promise<void>) | undefined {
  let asked = false
  process.on('SIGTSTP', () => {
    asked = true
  })
  return () => {
    if (!asked) return undefined
    asked = false
    return async () => {
      process.stderr.write('\nplumbline: paused; fg (or kill -CONT) goes on\n')
      process.kill(process.pid, 'SIGSTOP')
      process.stderr.write('plumbline: going on\n')
    }
  }
}
