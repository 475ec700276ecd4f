import type { Command } from 'commander'
import { blobsOf } from '../pipeline/blob-stores.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { PURPOSES } from '../schemas/events/rollout.ts'
import { LererError, type LererOptions, lererScenes } from '../sources/lerer.ts'
import { bringIn } from './bring-in.ts'
import { globals, oneOfWords, wholeNumber } from './options.ts'

interface LererCommand {
  labels?: string
  oneMeans?: 'stable' | 'unstable'
  purpose: LererOptions['purpose']
  groupSize: number
  round: number
}

const MEANINGS = ['stable', 'unstable'] as const

export function addIngest(command: Command): void {
  command
    .command('lerer <dir>')
    .description(
      'append photographs of towers with a label file, for the stability task, as in paper 1 with Lerer et al.',
    )
    .option('--labels <file>', 'the label file in DIR (default: labels.csv, labels.txt or labels.tsv)')
    .option('--one-means <label>', `meaning of the label 1: ${MEANINGS.join(', ')}`, oneOfWords('one-means', MEANINGS))
    .option('--purpose <name>', PURPOSES.join(', '), oneOfWords('purpose', PURPOSES), 'eval')
    .option('--group-size <n>', 'completions per request', wholeNumber('group-size', 1, 1024), 1)
    .option(
      '--round <n>',
      '1 requests completions of the same photographs a second time, and so on',
      wholeNumber('round', 0, 1_000_000),
      0,
    )
    .addHelpText(
      'after',
      '\nThe label file has one line per image (PNG or JPEG, as a path in DIR):\n' +
        '  image,label\n  tower-001.jpg,stable\n  tower-002.jpg,unstable\n' +
        'Separated by a comma, tab or spaces. Labels: stable, unstable, stands, falls, yes, no, true, false; 0 and 1 with --one-means.\n',
    )
    .action(async (dir: string, options: LererCommand, command: Command) => {
      const global = globals(command)
      const { labels, oneMeans, purpose, groupSize: group_size, round } = options
      const wanted = { dir, purpose, group_size, round }
      const source = await lererScenes(
        {
          ...wanted,
          ...(labels === undefined ? {} : { labels }),
          ...(oneMeans === undefined ? {} : { one_means: oneMeans }),
        },
        blobsOf(global),
      ).catch((error: unknown) => {
        if (!(error instanceof LererError)) throw error
        throw new UsageError(error.message, 'see ./plumbline ingest lerer --help; nothing was brought in', {
          cause: error,
        })
      })
      await bringIn(global, { label: 'photographs', unit: 'scenes', source: () => source })
    })
}
