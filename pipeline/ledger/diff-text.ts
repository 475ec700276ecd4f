import { textColumns } from '../text/text-table.ts'
import type { Diff, Kind } from './run-diff.ts'

const ABOUT: Readonly<Record<Kind, string>> = {
  base: 'trained from other models',
  end: 'one of them ends',
  world_size: 'another number of ranks',
  roll_backs: 'one of them resumed a checkpoint',
  policy_version: 'another published version',
  groups: 'other groups',
  order: 'the same groups in another order',
  sequence: 'other sequence numbers',
  drops: 'other dropped groups',
}

/** What a person reads of a comparison. */
export function diffText({ names, differs, step, differences, equal_steps }: Diff): string {
  const [one, other] = names
  const equal = `${equal_steps.toLocaleString('en')} ${equal_steps === 1 ? 'step' : 'steps'}`
  if (!differs) return `${one} and ${other} are equal: ${equal}\n`
  const where = step === 0 ? 'before their first step' : step === null ? `after ${equal}` : `at step ${step}`
  const lines = differences.flatMap(({ kind, found }) => [
    `  ${ABOUT[kind]} (${kind}):`,
    ...textColumns(names.map((name, side) => [name, found[side] ?? ''])).map((line) => `    ${line}`),
  ])
  const before = step === null || step === 0 ? '' : `, after ${equal} that are equal`
  return `${one} and ${other} differ ${where}${before}:\n${lines.join('\n')}\n`
}
