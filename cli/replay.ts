import { type Command, Option } from 'commander'
import { headerOf } from '../infra/runtime/internal/json-records.ts'
import type { Replayed } from '../infra/runtime/rebuild/replay-options.ts'
import { type ReplayPart, replayInto } from '../pipeline/replay.ts'
import { number } from '../pipeline/text/number.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { durationOf } from './lag.ts'
import { offsetVector } from './offset-vector.ts'
import { globals, stopSignal } from './options.ts'
import { Progress } from './progress.ts'
import { typedTime } from './typed-time.ts'

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

export function addReplay(command: Command): void {
  command
    .option(
      '--from <address>',
      'a data folder, lmdb:DIR with its blobs next to it, or kafka://… (default: the data folder)',
    )
    .option('--to <address>', 'the target: a data folder, lmdb:DIR or kafka://…; created if it does not exist')
    .option('--as <name>', 'instead of --to: under another name next to the log, in FROM/replays/NAME')
    .addOption(
      new Option('--speed <x>', 'speed-up of the original timing (by ce_time), or max')
        .argParser(speedOf)
        .default(Number.POSITIVE_INFINITY, 'max'),
    )
    .option(
      '--sources-only',
      'only events that cannot be recomputed, without ticks; `run` recomputes the others',
      false,
    )
    .option(
      '--from-offset <offsets>',
      'part of the sources: from these offsets; a number, JSON, or @FILE with the output of lag --json',
    )
    .option('--from-time <time>', 'part of the sources: events with this ce_time or a later one')
    .option('--group <key>', 'part of the sources: events with this key')
    .option('--episode <key>', 'the same, under the name of a gameplay key')
    .addHelpText(
      'after',
      '\nCopies up to the end that the log has at the start. Ctrl-Z (or SIGTSTP) pauses between two transactions, `fg`\n' +
        '(SIGCONT) resumes; the pause does not count as time. After a kill, the same command resumes: each record is copied\n' +
        'once. Run again later, it copies the new records, unless a run has written to the copy.\n' +
        'Timing: each clock by itself; no time passes between the last virtual and the first wall-clock event.\n' +
        'A part of a log has its sources only, because journals count records from the first one.\n' +
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
      const progress = new Progress('replay', { silent: global.json })
      const { to, ...result } = await replayInto({
        ...options,
        place: global,
        what,
        part,
        ...(global.partitions === undefined ? {} : { partitions: global.partitions }),
        signal: stopSignal(),
        paused: pauseOnStop(),
        onProgress: ({ done, of, left_ms }) => {
          if (left_ms === undefined) progress.at(done, of)
          else progress.at(done, undefined, `of ${number(of)}, ${durationOf(left_ms)} left`)
        },
      })
      report(result, to, what, global.json, progress)
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

async function partOf({ fromOffset, fromTime, episode, group }: ReplayCommand): Promise<ReplayPart> {
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

async function startsOf(text: string): Promise<Pick<ReplayPart, 'starts' | 'wanted'>> {
  if (/^\d+$/.test(text)) return { wanted: ({ offset }) => offset >= BigInt(text) }
  const vector = await offsetVector(text, '--from-offset')
  return { starts: new Map(Object.entries(vector).map(([topic, offsets]) => [topic, offsets.map(BigInt)])) }
}

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
      process.stderr.write('\nplumbline: paused; fg (or kill -CONT) resumes\n')
      process.kill(process.pid, 'SIGSTOP')
      process.stderr.write('plumbline: going on\n')
    }
  }
}
