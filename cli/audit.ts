import { resolve } from 'node:path'
import type { Command } from 'commander'
import { askMany } from '../pipeline/ask-rows.ts'
import { duckdbFile, openedBefore } from '../pipeline/data-folder.ts'
import { leakageOf, leakageText } from '../pipeline/ledger/leakage.ts'
import { weightsNamed } from '../pipeline/ledger/named-weights.ts'
import { globals } from './options.ts'
import { writeOut } from './write-out.ts'

export function addAudit(audit: Command): void {
  audit
    .command('leakage <model>')
    .description('whether a model was trained on what it is evaluated on')
    .addHelpText(
      'after',
      '\nMODEL is the id of a published model, or CONSUMER/RUN. Exit code 1: it was. What it can see: docs/ledger.md\n',
    )
    .action(async (name: string, _options: unknown, command: Command) => {
      const global = globals(command)
      openedBefore(global)
      const file = duckdbFile(resolve(global.data))
      const found = await askMany(file, async (ask) => leakageOf(ask, await weightsNamed(ask, name)))
      await writeOut(global.json ? `${JSON.stringify(found)}\n` : leakageText(found))
      if (!found.clean) process.exitCode = 1
    })
}
