import { setTimeout as wait } from 'node:timers/promises'
import type { Command } from 'commander'
import { endsOf, sumOf, type TopicLag } from '../infra/runtime/watch/lag-report.ts'
import { openLogForReading } from '../pipeline/data-folder.ts'
import { byPartition, type GroupLag, lagOfGroups } from '../pipeline/lag.ts'
import { readersOf, warningOf } from '../pipeline/positions.ts'
import { type Column, textTable } from '../pipeline/text/text-table.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { globals, stopSignal, wholeNumber } from './options.ts'
import { ofRun, placesIn, withSinkOptions } from './sink-options.ts'
import { writeOut } from './write-out.ts'

interface LagOptions {
  watch?: number | true
  topics: boolean
}

export function addLag(command: Command): void {
  command
    .option('--watch [seconds]', 'repeat until Ctrl-C, by default every 2 seconds', wholeNumber('watch', 1, 86_400))
    .option('--topics', 'one line per topic and partition', false)
  withSinkOptions(command, ofRun)
    .addHelpText(
      'after',
      '\nMessages are an upper bound. Bytes are counted up to 4 MiB per topic and partition (then: more than).\n' +
        'Behind is the event time between the first unread event and the newest one, on one clock.\n' +
        'With --json, `offsets` has the end of every topic; `sql --as-of @FILE` later answers as of these offsets.\n' +
        '\nExample:\n  ./plumbline lag --json > then.json\n',
    )
    .action(async (options: LagOptions, command: Command) => {
      const global = globals(command)
      const log = await openLogForReading(global)
      const stop = stopSignal({ silent: true })
      const pause_ms = 1_000 * (options.watch === true ? 2 : (options.watch ?? 0))
      try {
        const places = { data: global.data, places: placesIn(options) }
        const warnings = (await readersOf(log, places)).flatMap((reader) => warningOf(reader) ?? [])
        if (!global.json) for (const warning of warnings) process.stderr.write(`plumbline: ${warning}\n`)
        do {
          const offsets = await endsOf(log, catalogue)
          const groups = await lagOfGroups(log, places)
          const text = global.json
            ? `${JSON.stringify({ ...lagJson(offsets, groups), warnings })}\n`
            : lagText(groups, options.topics)
          const clear = pause_ms > 0 && process.stdout.isTTY && !global.json ? '\x1b[H\x1b[2J' : ''
          await writeOut(clear + text)
          if (pause_ms > 0) await wait(pause_ms, undefined, { signal: stop }).catch(() => {})
        } while (pause_ms > 0 && !stop.aborted)
      } finally {
        await log.close()
      }
    })
}

function lagJson(offsets: Record<string, number[]>, groups: readonly GroupLag[]) {
  const plain = (lags: readonly TopicLag[]) => {
    const sum = sumOf(lags)
    return { ...sum, messages: Number(sum.messages) }
  }
  return {
    at: new Date().toISOString(),
    offsets,
    groups: groups.map((group) => ({
      group: group.group,
      ...plain(group.lags),
      partitions: byPartition(group).map(([partition, lags]) => ({
        partition,
        ...plain(lags),
        topics: lags.map(({ topic, next, end, ...lag }) => {
          const { partition: _partition, ...rest } = lag
          return { topic, next: Number(next), end: Number(end), ...rest, messages: Number(lag.messages) }
        }),
      })),
    })),
  }
}

function lagText(groups: readonly GroupLag[], topics: boolean): string {
  const columns: Column[] = [
    { name: 'group' },
    { name: 'partition', right: true },
    ...(topics ? [{ name: 'topic' }] : []),
    ...['messages', 'bytes', 'behind'].map((name) => ({ name, right: true })),
  ]
  const lines = groups.flatMap((group) =>
    byPartition(group).flatMap(([partition, lags]) =>
      (topics ? lags.map((lag) => [lag]) : [lags]).map((some) => {
        const { messages, bytes, bytes_complete, behind_ms } = sumOf(some)
        return [
          group.group,
          String(partition),
          ...(topics ? [some[0]?.topic ?? ''] : []),
          messages.toLocaleString('en-US'),
          `${bytes_complete ? '' : '> '}${bytes.toLocaleString('en-US')}`,
          behind_ms === null ? '?' : durationOf(behind_ms),
        ]
      }),
    ),
  )
  return textTable(columns, lines)
}

/** Milliseconds as a short text for people: 0 s, 4.2 s, 3 min 20 s, 2 h 5 min, 31 d 4 h. */
export function durationOf(ms: number): string {
  if (ms < 60_000) return `${Number((ms / 1_000).toFixed(1))} s`
  const s = Math.round(ms / 1_000)
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`
}
