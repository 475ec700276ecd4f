import type { Command } from 'commander'
import { listed } from '../infra/runtime/state/misplaced.ts'
import { openDataFolder, openLogForReading } from '../pipeline/data-folder.ts'
import { type Begun, type Reader, readersOf, resetReaders } from '../pipeline/positions.ts'
import { number } from '../pipeline/text/number.ts'
import { textTable } from '../pipeline/text/text-table.ts'
import { globals } from './options.ts'
import { ofRun, placesIn, withSinkOptions } from './sink-options.ts'
import { writeOut } from './write-out.ts'

export function addPositions(positions: Command): void {
  const list = positions
    .command('list')
    .description(
      'list all readers; exit 1 when one cannot continue: its topic was deleted and created again, or is a copy',
    )
  withSinkOptions(list, ofRun).action(async (options: object, command: Command) => {
    const global = globals(command)
    const log = await openLogForReading(global)
    try {
      const readers = await readersOf(log, { data: global.data, places: placesIn(options) })
      await writeOut(global.json ? `${JSON.stringify(readers.map(jsonOf))}\n` : tableOf(readers))
      if (readers.some(({ misplaced }) => misplaced.length > 0)) process.exitCode = 1
    } finally {
      await log.close()
    }
  })
  positions
    .command('reset')
    .description('restart readers at the beginning of their topics: those that cannot continue, or the named ones')
    .option('--only <name...>', 'these processors or sources; sources by the name in their error (source/…)')
    .addHelpText(
      'after',
      '\nThe state of a fold is dropped; a policy over HTTP keeps its recorded answers. Events that a reader has emitted\n' +
        'stay in the log: from the records that still exist it emits the same events, which count once, and verify leaves\n' +
        'out everything before the reset. Stop every run first. To keep the earlier outputs apart, create a new pipeline\n' +
        'from the sources instead: ./plumbline replay --sources-only --to DIR\n',
    )
    .action(async ({ only }: { only?: string[] }, command: Command) => {
      const global = globals(command)
      const folder = await openDataFolder(global, { create: false })
      try {
        const begun = await resetReaders(folder, { ...global, only })
        const lines =
          begun.length > 0 ? begun.map(begunText) : ['nothing to reset: every processor can continue in this log']
        if (global.json) process.stdout.write(`${JSON.stringify(lines)}\n`)
        else for (const line of lines) process.stdout.write(`${line}\n`)
      } finally {
        await folder.close()
      }
    })
}

function tableOf(readers: readonly Reader[]): string {
  const lines = readers.map(({ reader, positions, misplaced }) => [
    reader,
    number(positions),
    misplaced.length === 0 ? 'in this log' : `NOT IN THIS LOG: ${listed(misplaced)}`,
  ])
  return textTable([{ name: 'reader' }, { name: 'positions', right: true }, { name: '' }], lines)
}

function jsonOf({ reader, positions, misplaced }: Reader) {
  return {
    reader,
    positions,
    misplaced: misplaced.map(({ position: { topic, partition, next }, why }) => {
      return { topic, partition, next: Number(next), why }
    }),
  }
}

function begunText(begun: Begun): string {
  if ('source' in begun)
    return `${begun.source} restarts at the beginning: it had appended ${begun.steps.join(', ')} steps`
  const { reader, positions, keys } = begun
  const dropped = keys === 0 ? '' : `; the state of ${number(keys)} keys was dropped`
  return `${reader} restarts at the beginning: ${number(positions)} positions${dropped}`
}
