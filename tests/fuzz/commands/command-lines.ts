import type { Command, Option } from 'commander'
import { COMMANDS, emptyProgram } from '../../../cli/commands.ts'
import type { Random } from '../../../environments/tower/random.ts'
import { pick } from '../../../testing/pick.ts'

/** A command of the program's tree, such as `dlq show`, with its options and arguments. */
interface Leaf {
  readonly words: readonly string[]
  readonly options: readonly Option[]
  /** Names of the arguments that it needs. */
  readonly needed: readonly string[]
}

/** Commands that start something which this suite cannot end, or that take minutes. */
const LEFT_OUT: ReadonlySet<string> = new Set(['broker start'])

const NUMBERS = [
  '0',
  '1',
  '2',
  '3',
  '-1',
  '-0',
  '1.5',
  '1e3',
  '1e999',
  'NaN',
  'Infinity',
  '0x10',
  '９',
  '2147483648',
  '9007199254740993',
]
const PLACES = [
  'data',
  'empty',
  'new',
  'new/deep/er',
  'file',
  'null',
  'zero',
  'full',
  'pipe',
  'loop',
  'file/inside',
  '',
  '.',
  ' ',
  '/proc/nope',
]
const TIMES = [
  '2026-01-01',
  '2026-01-01T00:00:00Z',
  '1',
  'now',
  '-1',
  '2026-13-45',
  '0000-01-01',
  '@file',
  '@null',
  '@data',
  '@zero',
  '@',
  '{}',
  '{"a":1}',
  '{"rollout.requested":["0"]}',
  '[]',
]
const WORDS = [
  'tower',
  'form-groups',
  'duckdb',
  'rewards',
  'rollout.requested',
  'tower.completions_scored',
  'dead_letters',
  '_topology',
  'rollout.requested/0/0',
  'rollout.requested/0/-1',
  'side_block',
  'x_y',
  'train',
  'csv',
  'arrow',
  'random-legal',
  'openai(http://127.0.0.1:1/v1,m)',
  'openai(file:///etc/passwd,m)',
  'recorded(file)',
  'recorded(zero)',
  'recorded(data)',
  'noisy-oracle(1e999)',
  'lmdb:',
  'lmdb:file',
  'lmdb:null/log',
  'kafka://127.0.0.1:1',
  'kafka://',
  'http://127.0.0.1:1',
  'a=b',
  'nope=1',
  'group_size=NaN',
  'key=__proto__',
  '127.0.0.1:99999',
  'reward.ts',
  '*',
]
const TYPES = ['rollout.requested', 'tower.completions_scored', 'clock.ticked', 'model.published', 'nope']
const STATEMENTS = [
  'select * from rewards',
  'select * from funnel',
  "select chr(27) || '[2J' as x",
  'select',
  'describe rewards',
  'select * from range(100000)',
  "copy (select 1) to 'out.csv'",
]
const RUBBISH = [
  '',
  ' ',
  '-',
  '--',
  '---',
  '-h',
  '--help',
  '--nope',
  '--nope=1',
  '-zzz',
  '\u001b[2J\u0007\r',
  'line\nline',
  '\u202eevil\u2028',
  '日本語\u{1f600}',
  '../..',
  '%s%n%x',
  '$(touch out)',
  "'; drop table x; --",
  'constructor',
  '__proto__',
  'x'.repeat(100_000),
  '9'.repeat(5_000),
]

const isLikely = (random: Random, chance: number) => random.uniform() < chance

/** Command lines from the program's own tree of commands and options. */
export class CommandLines {
  readonly #leaves: readonly Leaf[]

  private constructor(leaves: readonly Leaf[]) {
    this.#leaves = leaves
  }

  static async load(): Promise<CommandLines> {
    const program = emptyProgram()
    for (const command of program.commands) await COMMANDS[command.name()]?.load(command)
    return new CommandLines(leavesOf(program, [], []))
  }

  get commands(): readonly string[] {
    return this.#leaves.map(({ words }) => words.join(' '))
  }

  next(random: Random): string[] {
    const { words, options, needed } = pick(random, this.#leaves)
    const line = [...words]
    for (const name of isLikely(random, 0.9) ? needed : []) line.push(argument(name, random))
    if (isLikely(random, 0.05)) line.push(argument('', random))
    for (const option of options) {
      if (option.mandatory ? isLikely(random, 0.85) : isLikely(random, 1.5 / options.length))
        line.push(...typed(option, random))
    }
    if (isLikely(random, 0.1)) line.splice(random.integer(0, line.length), 0, pick(random, RUBBISH))
    if (isLikely(random, 0.05)) line.splice(random.integer(0, line.length - 1), 1)
    if (isLikely(random, 0.05)) line.push(...line.slice(random.integer(0, line.length - 1)))
    return line
  }
}

function leavesOf(command: Command, words: readonly string[], above: readonly Option[]): Leaf[] {
  const options = [...above, ...command.options]
  const { registeredArguments } = command
  const needed = registeredArguments.filter(({ required }) => required).map((one) => one.name())
  const inner = command.commands.flatMap((sub) => leavesOf(sub, [...words, sub.name()], options))
  const own: Leaf = { words, options, needed }
  return LEFT_OUT.has(words.join(' ')) ? inner : [own, ...inner]
}

/** An option as a person types it, or with a mistake: another option's value, no value, or twice. */
function typed(option: Option, random: Random): string[] {
  const name = option.long ?? option.short ?? ''
  if (option.isBoolean() || isLikely(random, 0.04)) return [name]
  const value = valueFor(option, random)
  const words = isLikely(random, 0.2) ? [`${name}=${value}`] : [name, value]
  return isLikely(random, 0.05) ? [...words, ...words] : words
}

function valueFor({ flags, description, argChoices }: Option, random: Random): string {
  if (isLikely(random, 0.1)) return pick(random, RUBBISH)
  if (isLikely(random, 0.05)) return pick(random, [...NUMBERS, ...PLACES, ...TIMES, ...WORDS])
  if (argChoices !== undefined) return pick(random, argChoices)
  if (/^--data/.test(flags)) return pick(random, ['data', 'data', 'data', ...PLACES])
  if (/dir|file|--to|--svg|--out/.test(flags)) return pick(random, PLACES)
  if (/time|as-of|from/.test(flags)) return pick(random, TIMES)
  if (/<n>|seconds|count|<t>|<x>|<mib>|size|characters|width/i.test(flags)) return pick(random, NUMBERS)
  // Most options that accept a fixed set of words list them in the description.
  const words = description.match(/[\w-]+/g) ?? []
  return isLikely(random, 0.5) && words.length > 0 ? pick(random, words) : pick(random, WORDS)
}

function argument(name: string, random: Random): string {
  if (isLikely(random, 0.15)) return pick(random, RUBBISH)
  if (isLikely(random, 0.15)) return pick(random, [...PLACES, ...WORDS, ...NUMBERS])
  if (name === 'statement') return pick(random, STATEMENTS)
  if (name === 'type') return pick(random, TYPES)
  return pick(random, name === 'n' ? NUMBERS : name === 'dir' ? PLACES : WORDS)
}
