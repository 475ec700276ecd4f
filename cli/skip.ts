import type { Command } from 'commander'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { skip } from '../pipeline/skip.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { globals } from './options.ts'
import { writeOut } from './write-out.ts'

export function addSkip(program: Command): void {
  program
    .command('skip <place...>')
    .description('make every reader pass over a record that none can read, from now on and in copies of the log')
    .addHelpText(
      'after',
      '\nPLACE is TOPIC PARTITION OFFSET, as the error that names the record has it. The record stays in the log; a record\n' +
        'of _skipped says that it is skipped. A sound record is refused. Of a journal or changelog entry that was ours and is damaged, what it said is\n' +
        'lost: run ./plumbline verify afterwards, which also lists what is skipped. A skipped event, or what retention\n' +
        'removed, leaves the list of what the tables lack.\n',
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
  throw new UsageError(`skip: ${what} ${text}: expected a whole number`, 'as the error that named the record says')
}
