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

export function addExport(program: Command): void {
  program
    .command('export')
    .description('hand a table to other programs')
    .command('parquet <dir>')
    .description('a table or view as Parquet, in folders by the values of columns; all of it appears at once')
    .option('--table <name>', 'a view, or a table such as tower.completions_scored', 'rewards')
    .option('--by <columns>', 'columns whose values become folders, e.g. dataset,task', columnsOf, [])
    .option('--overwrite', 'replace what lies in the folder', false)
    .option('--timeout <seconds>', 'give up after', wholeNumber('timeout', 1, 3_600), 600)
    .addHelpText(
      'after',
      '\nWhile `run` goes on, its process writes; else this one does. The folder is written elsewhere, flushed to disk and\n' +
        'renamed: no reader sees half of it. (With --overwrite, for a moment it is not there.)\n' +
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
