import { spawnSync } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Random } from '../../../environments/tower/random.ts'
import { type Ended, outputOf, start } from '../../../testing/program.ts'
import type { FuzzPart, FuzzTarget } from '../fuzz.ts'
import { CommandLines } from './command-lines.ts'

/** Commands that run until stopped, or as long as their arguments demand, are stopped after this time. */
const STOP_AFTER_MS = 4_000
const GOES_ON = /(^| )(run|demo|feed|serve|tower|lerer|tail|lag|rescore|replay|verify)( |$)/
/** A query may use its own time limit of a minute. */
const LATEST_MS = 90_000
/** Limit from a stop to the end, on a busy machine. */
const LATEST_STOP_MS = 20_000
const LONGEST_MESSAGE = 20_000

/** The program as a person starts it, with any command line. */
export const commandsPart: FuzzPart = {
  name: 'commands',
  async open() {
    const dir = await mkdtemp(join(tmpdir(), 'plumbline-fuzz-commands-'))
    const target = new CommandsTarget(dir, await CommandLines.load())
    try {
      await target.prepare()
      return target
    } catch (error) {
      await target.close()
      throw error
    }
  },
}

class CommandsTarget implements FuzzTarget {
  readonly #dir: string
  readonly #lines: CommandLines
  /** Where the program is started: nothing may be written outside of it. */
  readonly #inside: string

  constructor(dir: string, lines: CommandLines) {
    this.#dir = dir
    this.#lines = lines
    this.#inside = join(dir, 'inside')
  }

  /** Makes a data folder with a few complete groups, which is copied for each call. */
  async prepare(): Promise<void> {
    const cwd = join(this.#dir, 'before')
    await mkdir(join(cwd, 'empty'), { recursive: true })
    const generate = 'generate tower --dataset side_block --task x_y --scenes 2 --seed 1 --group-size 2'.split(' ')
    await outputOf(generate, start(generate, { cwd }).ended)
    await outputOf(['run'], start(['run', '--until-idle'], { cwd }).ended)
    await writeFile(join(cwd, 'file'), '{"a":1}\n')
    await writeFile(join(cwd, 'reward.ts'), 'export const version = 1\nexport const reward = () => 1\n')
    for (const name of ['null', 'zero', 'full']) await symlink(`/dev/${name}`, join(cwd, name))
    await symlink('loop', join(cwd, 'loop'))
  }

  async attempt(random: Random, trying: (input: string) => void): Promise<string> {
    const args = this.#lines.next(random)
    const shown = args.map((arg) => (arg.length > 200 ? `${arg.slice(0, 20)}… (${arg.length})` : arg))
    trying(`plumbline ${JSON.stringify(shown)}`)
    await rm(this.#inside, { recursive: true, force: true })
    await cp(join(this.#dir, 'before'), this.#inside, { recursive: true, verbatimSymlinks: true })
    spawnSync('mkfifo', [join(this.#inside, 'pipe')])
    // Only the program itself can run: PATH leads to neither Java nor anything else.
    const { child, ended } = start(args, { cwd: this.#inside, env: { PATH: '/nonexistent', HOME: this.#inside } })
    const goes_on = GOES_ON.test(args.join(' ').slice(0, 1_000))
    let stopped = false
    let late = false
    const stop = setTimeout(
      () => {
        stopped = child.kill('SIGINT')
      },
      goes_on ? STOP_AFTER_MS : LATEST_MS - LATEST_STOP_MS,
    )
    const kill = setTimeout(
      () => {
        late = child.kill('SIGKILL')
      },
      goes_on ? STOP_AFTER_MS + LATEST_STOP_MS : LATEST_MS,
    )
    try {
      const end = await ended
      if (late)
        throw new Error(`expected an end${stopped ? ' after Ctrl-C' : ''}, there was none\n${end.stderr.slice(-2_000)}`)
      if (stopped && !goes_on) throw new Error(`expected an end by itself\n${end.stderr.slice(-2_000)}`)
      expectWords(end, { stopped, debug: args.includes('--debug'), verbatim: isVerbatim(args) })
      return stopped ? `stopped, then ${end.code ?? end.signal}` : `exit ${end.code}`
    } finally {
      clearTimeout(stop)
      clearTimeout(kill)
    }
  }

  async check(): Promise<void> {
    const found = (await readdir(this.#dir)).filter((name) => name !== 'before' && name !== 'inside')
    if (found.length > 0) throw new Error(`written outside of the folder: ${found.join(', ')}`)
    for (let tries = 0; ; tries += 1) {
      const left = await processesIn(this.#inside)
      if (left.length === 0) return
      if (tries === 50) throw new Error(`still running: ${left.join(', ')}`)
      await wait(100)
    }
  }

  async close(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true })
  }
}

/** CSV and JSON treat control characters in their own way. */
const isVerbatim = (args: readonly string[]) =>
  args.some((arg) => arg === '--json' || /json|csv|arrow/.test(arg)) || args.includes('export')

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2028\u2029]/
const STACK = /\n {4}at |node:internal|UnhandledPromiseRejection|Node\.js v\d/

export function expectWords(
  { code, signal, stdout, stderr }: Ended,
  { stopped, debug, verbatim }: { readonly stopped: boolean; readonly debug: boolean; readonly verbatim: boolean },
): void {
  const fail = (problem: string): never => {
    throw new Error(`${problem}\nexit ${code ?? signal}\n${stderr.slice(0, 2_000)}\n${stdout.slice(0, 500)}`)
  }
  const codes = stopped ? [0, 1, 2, 130] : [0, 1, 2]
  const is_ended = code === null ? stopped && signal === 'SIGINT' : codes.includes(code)
  if (!is_ended) fail(`expected exit ${codes.join(', ')}`)
  if (!debug && STACK.test(stderr)) fail('expected a message, got a stack trace')
  if (!verbatim && CONTROL.test(stderr))
    fail(`expected no control characters, got ${JSON.stringify(CONTROL.exec(stderr)?.[0])}`)
  if (!verbatim && CONTROL.test(stdout))
    fail(`expected no control characters, got ${JSON.stringify(CONTROL.exec(stdout)?.[0])}`)
  if (stderr.length > LONGEST_MESSAGE) fail(`expected a message, got ${stderr.length} characters`)
  if (code === 2 && !/(^|\n)(plumbline: |Usage: |\{"error":)/.test(stderr))
    fail('expected a message that says what was wrong')
  if (code === 1 && stderr === '' && stdout === '') fail('expected a message, got none')
}

/** Processes that work in this folder; found only on Linux. */
async function processesIn(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const id of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(id)) continue
    const cwd = await readlink(`/proc/${id}/cwd`).catch(() => '')
    if (cwd.startsWith(folder)) found.push(id)
  }
  return found
}
