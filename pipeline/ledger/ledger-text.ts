import { type Column, textTable } from '../text/text-table.ts'
import type { LedThrough, NamedWeights } from './named-weights.ts'
import type { LedgerStep } from './steps-of.ts'

/** What a person reads of weights before their steps. */
export function weightsText({ name, model, trained_at }: NamedWeights, epochs: readonly LedThrough[]): string {
  const lines = [model === null ? `run ${name}` : `${model.role} ${name}, version ${model.version} of ${model.lineage}`]
  if (trained_at !== null) {
    const { consumer, run, epoch, step } = trained_at
    lines.push(`  after step ${step} of ${consumer}/${run} in epoch ${epoch}`)
  } else lines.push('  made by no training consumer')
  if (model !== null && model.parent !== null) lines.push(`  trained from ${model.parent}`)
  if (model !== null && model.trained_on.length > 0) {
    lines.push(`  its publisher names ${model.trained_on.length} data sets or groups that it was trained on`)
  }
  for (const { consumer, run, epoch, checkpoint, from_step, parent, contained_to, without_receipt } of epochs) {
    const from = checkpoint === null ? 'from nothing' : `from checkpoint ${checkpoint}, step ${from_step},`
    const to = contained_to > from_step ? `contained up to step ${contained_to}` : 'none of its steps contained'
    const whose = parent === null ? '' : `, a run of parent ${parent}`
    lines.push(`  epoch ${epoch} of ${consumer}/${run}${whose}: ${from} ${to}`)
    if (without_receipt > 0) {
      lines.push(
        `    ${without_receipt} of its receipts are not in the tables: the groups of those steps are not listed`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}

const right = true
const STEP_COLUMNS: readonly Column[] = [
  { name: 'run' },
  ...['epoch', 'step', 'groups'].map((name) => ({ name, right })),
  { name: 'sequence numbers' },
]
const GROUP_COLUMNS: readonly Column[] = [
  { name: 'run' },
  ...['epoch', 'step', 'rank', 'sequence'].map((name) => ({ name, right })),
  { name: 'group_id' },
]

/** Collects the steps of one fate for a table of at most `limit` rows, and counts all of them. */
export class StepTable {
  readonly #limit: number
  readonly #by_group: boolean
  readonly #rows: string[][] = []
  #steps = 0
  #groups = 0
  #rows_in_all = 0

  constructor(limit: number, by_group: boolean) {
    this.#limit = limit
    this.#by_group = by_group
  }

  get groups(): number {
    return this.#groups
  }

  add(step: LedgerStep): void {
    this.#steps += 1
    this.#groups += step.groups.length
    const shared = [`${step.consumer}/${step.run}`, String(step.epoch), String(step.step)]
    const rows = this.#by_group
      ? step.groups.map(({ rank, sequence, group_id }) => [...shared, String(rank), String(sequence), group_id])
      : [[...shared, String(step.groups.length), ranges(step.groups.map(({ sequence }) => sequence))]]
    this.#rows_in_all += rows.length
    this.#rows.push(...rows.slice(0, Math.max(0, this.#limit - this.#rows.length)))
  }

  /** @param about what the rows are, e.g. `its weights contain` */
  text(about: string): string {
    const counted = `${about} ${counting(this.#groups, 'group')} in ${counting(this.#steps, 'step')}`
    if (this.#steps === 0) return `${counted}\n`
    const left = this.#rows_in_all - this.#rows.length
    const more = left === 0 ? '' : `… ${counting(left, 'more row')}; --limit shows them, --json all\n`
    return `${counted}:\n\n${textTable(this.#by_group ? GROUP_COLUMNS : STEP_COLUMNS, this.#rows)}${more}`
  }
}

const counting = (count: number, what: string) => `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`

/** At most so many ranges are shown of a step. */
const MOST_RANGES = 8

/** `0–7, 9`: numbers in order, runs of them as one. */
export function ranges(numbers: readonly number[]): string {
  const found: [number, number][] = []
  for (const number of numbers.toSorted((one, other) => one - other)) {
    const last = found.at(-1)
    if (last !== undefined && number <= last[1] + 1) last[1] = number
    else found.push([number, number])
  }
  const texts = found.slice(0, MOST_RANGES).map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`))
  return [...texts, ...(found.length > MOST_RANGES ? ['…'] : [])].join(', ')
}
