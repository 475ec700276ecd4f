import type { Command } from 'commander'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { skip } from '../pipeline/skip.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { globals } from './options.ts'
import { writeOut } from './write-out.ts'

export function addSkip(command: Command): void {
  command
    .addHelpText(
      'after',
      '\nPLACE is TOPIC PARTITION OFFSET, as in the error that names the record. The record stays in the log; a record of\n' +
        '_skipped marks it as skipped. A readable record is refused. The content of a damaged journal or changelog entry is\n' +
        'lost: run ./plumbline verify afterwards, which also lists skipped records. Events that are skipped, or removed by\n' +
        'retention, no longer count as missing in a sink.\n',
    )
    .action(async (given: string[], _options: unknown, command: Command) => {
      const global = globals(command)
      const [topic = '', partition = '', offset = ''] = given
      if (given.length !== 3) {
        throw new UsageError(
          `skip ${given.join(' ')}: expected TOPIC PARTITION OFFSET`,
          'as the error that named the record has them',
        )
      }
      const folder = await openDataFolder(global, { create: false })
      try {
        const place = { topic, partition: numberOf('partition', partition), offset: BigInt(numberOf('offset', offset)) }
        const { outcome, error } = await skip(folder, place)
        const text = `${topic} partition ${partition} offset ${offset}: ${outcome === 'skipped' ? 'skipped from now on' : 'was skipped before; nothing added'}`
        await writeOut(global.json ? `${JSON.stringify({ topic, partition, offset, outcome, error })}\n` : `${text}\n`)
      } finally {
        await folder.close()
      }
    })
}

function numberOf(what: string, text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new UsageError(`skip: ${what} ${text}: expected a whole number`, 'as in the error that named the record')
}
