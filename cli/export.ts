import type { Command } from 'commander'
import { openedBefore } from '../pipeline/data-folder.ts'
import { exportParquet } from '../pipeline/export-parquet.ts'
import { number } from '../pipeline/text/number.ts'
import { globals, wholeNumber } from './options.ts'
import { Progress } from './progress.ts'

interface ExportOptions {
  table: string
  by: string[]
  overwrite: boolean
  timeout: number
}

const columnsOf = (text: string) =>
  text
    .split(',')
    .map((column) => column.trim())
    .filter((column) => column !== '')

export function addExport(command: Command): void {
  command
    .command('parquet <dir>')
    .description('write a table or view as Parquet, in folders by column values; appears as a whole or not at all')
    .option('--table <name>', 'a view, or a table like tower.completions_scored', 'rewards')
    .option('--by <columns>', 'columns whose values become folders, e.g. dataset,task', columnsOf, [])
    .option('--overwrite', 'replace an existing folder', false)
    .option('--timeout <seconds>', 'give up after this time', wholeNumber('timeout', 1, 3_600), 600)
    .addHelpText(
      'after',
      '\nDuring a `run`, its process writes the files; otherwise this one does. They are written to a temporary folder,\n' +
        'flushed and renamed: readers never see part of them. (With --overwrite, the folder is absent for a moment.)\n' +
        '\nExample:\n  ./plumbline export parquet out/rewards --by dataset,task\n' +
        "  python -c \"import pyarrow.dataset as d; print(d.dataset('out/rewards', partitioning='hive').to_table())\"\n",
    )
    .action(async (dir: string, options: ExportOptions, command: Command) => {
      const global = globals(command)
      openedBefore(global)
      const progress = new Progress(`export ${options.table}`, { silent: global.json })
      const {
        rows,
        files,
        dir: target,
      } = await exportParquet(global.data, {
        dir,
        ...options,
        time_limit_ms: options.timeout * 1_000,
        report: (message) => process.stderr.write(`plumbline: ${message}\n`),
      })
      progress.done(`${number(rows)} rows in ${number(files)} files in ${target}`)
      if (global.json) process.stdout.write(`${JSON.stringify({ rows, files, dir: target })}\n`)
    })
}
