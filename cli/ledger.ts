import { resolve } from 'node:path'
import type { Command } from 'commander'
import { type Ask, askMany } from '../pipeline/ask-rows.ts'
import { duckdbFile, openedBefore } from '../pipeline/data-folder.ts'
import { diffText } from '../pipeline/ledger/diff-text.ts'
import { StepTable, weightsText } from '../pipeline/ledger/ledger-text.ts'
import { epochsOf, weightsNamed } from '../pipeline/ledger/named-weights.ts'
import { diffOf, IGNORABLE, type Kind } from '../pipeline/ledger/run-diff.ts'
import { stepsOf } from '../pipeline/ledger/steps-of.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { globals, wholeNumber } from './options.ts'
import { writeOut } from './write-out.ts'

const NAMES = '\nMODEL is the id of a published model, or CONSUMER/RUN: the weights of that run after its last step.\n'

interface LedgerOptions {
  groups: boolean
  limit: number
}

export function addLedger(command: Command): void {
  command
    .option('--groups', 'one line per group, not per step', false)
    .option('--limit <rows>', 'most rows of a table; it counts the others', wholeNumber('limit', 1, 1_000_000), 40)
    .addHelpText(
      'after',
      `${NAMES}With --json, every step with its groups. In SQL: from model_groups where model_id = '…'\n`,
    )
    .action(async (name: string, options: LedgerOptions, command: Command) => {
      const { file, json } = placeOf(command)
      await askMany(file, (ask) => (json ? printJson(ask, name) : printTables(ask, name, options)))
    })

  command
    .command('diff <one> <other>')
    .description('the first step at which two runs or models differ, and why')
    .option('--ignore <kinds>', `differences that do not count: ${IGNORABLE.join(', ')}`, kindsIn, [])
    .addHelpText('after', `${NAMES}\nExit code 1: they differ.\n`)
    .action(async (one: string, other: string, { ignore }: { ignore: readonly Kind[] }, command: Command) => {
      const { file, json } = placeOf(command)
      const found = await askMany(file, async (ask) =>
        diffOf(ask, [await weightsNamed(ask, one), await weightsNamed(ask, other)], ignore),
      )
      await writeOut(json ? `${JSON.stringify(found)}\n` : diffText(found))
      if (found.differs) process.exitCode = 1
    })
}

function kindsIn(text: string): readonly Kind[] {
  return text.split(',').map((word) => {
    const kind = IGNORABLE.find((one) => one === word)
    if (kind !== undefined) return kind
    throw new UsageError(
      `--ignore ${text}: ${word || 'nothing'} is not known`,
      `expected some of ${IGNORABLE.join(',')}`,
    )
  })
}

async function printTables(ask: Ask, name: string, { groups, limit }: LedgerOptions): Promise<void> {
  const named = await weightsNamed(ask, name)
  await writeOut(`${weightsText(named, await epochsOf(ask, named))}\n`)
  const [contained, rolled_back] = [new StepTable(limit, groups), new StepTable(limit, groups)]
  for await (const step of stepsOf(ask, named)) (step.fate === 'contained' ? contained : rolled_back).add(step)
  await writeOut(contained.text('its weights contain'))
  if (rolled_back.groups > 0) await writeOut(`\n${rolled_back.text('rolled back, and in no part of its weights:')}`)
}

/** One object; its steps are streamed, as a model may have millions of groups. */
async function printJson(ask: Ask, name: string): Promise<void> {
  const named = await weightsNamed(ask, name)
  const { weights: _, ...about } = named
  const epochs = await epochsOf(ask, named)
  await writeOut(`${JSON.stringify({ ...about, epochs }).slice(0, -1)},"steps":[`)
  let before = ''
  for await (const step of stepsOf(ask, named)) {
    await writeOut(`${before}\n${JSON.stringify(step)}`)
    before = ','
  }
  await writeOut('\n]}\n')
}

function placeOf(command: Command): { file: string; json: boolean } {
  const global = globals(command)
  openedBefore(global)
  return { file: duckdbFile(resolve(global.data)), json: global.json }
}
