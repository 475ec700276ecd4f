import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { programFile } from '../bundle/program-file.mjs'
import { benchFolder } from './folder.ts'
import { exponentsOf, sizesOf } from './growth-exponent.ts'
import { anonymousMib, startedBy } from './memory.ts'
import type { Gauge, OpenBench } from './pairs.ts'

const REWARD = fileURLToPath(new URL('./reward.ts', import.meta.url))

/** N of paper 1 §3.3. */
const GROUP_SIZE = 16
const SIZES = [32_000, 320_000, 3_200_000]
const QUICK_SIZES = [320, 640]
/** Shorter times count as this: they are mostly the start of the process, which does not grow. */
const SHORT_S = 2
const LOOK_MS = 50

interface Step {
  readonly what: string
  readonly args: (size: number) => readonly string[]
  /** Files of the data folder that are removed first. */
  readonly without?: readonly string[]
}

/** In the order in which they run; each starts from what the previous ones left. */
const STEPS: readonly Step[] = [
  {
    what: 'generate tower',
    args: (size) => {
      const scenes = String(size / GROUP_SIZE)
      return ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--scenes', scenes, '--seed', 'growth']
    },
  },
  { what: 'run --until-idle', args: () => ['run', '--until-idle'] },
  { what: 'run --until-idle, nothing to do: start and restore', args: () => ['run', '--until-idle'] },
  { what: 'verify', args: () => ['verify'] },
  { what: 'rescore', args: () => ['rescore', '--reward', REWARD, '--name', 'bench'] },
  { what: 'replay --as copy', args: () => ['replay', '--as', 'copy'] },
  {
    what: 'run --until-idle, all tables made again',
    args: () => ['run', '--until-idle'],
    without: ['plumbline.duckdb', 'plumbline.duckdb.wal'],
  },
]

/** Every command that reads a whole log, over logs of several sizes: time, memory, and how both grow. */
export const open: OpenBench = async ({ quick, completions = quick ? QUICK_SIZES : SIZES }) => {
  const sizes = sizesOf(completions)
  const unfit = sizes.find((size) => size % GROUP_SIZE !== 0)
  if (unfit !== undefined) throw new RangeError(`${unfit} completions: expected a multiple of ${GROUP_SIZE}`)
  const folder = await benchFolder()
  const taken = STEPS.map(() => [] as Taken[])
  for (const size of sizes) {
    const data = folder.fresh('data')
    for (const [at, { what, args, without = [] }] of STEPS.entries()) {
      process.stderr.write(`growth: ${what}, ${size.toLocaleString('en-US')} completions\n`)
      for (const name of without) await rm(join(data, name), { force: true })
      taken[at]?.push(await run([...args(size), '--data', data]))
    }
    await rm(data, { recursive: true })
  }
  return {
    measures: [],
    gauges: STEPS.flatMap(({ what }, at) => rows(what, sizes, taken[at] as Taken[])),
    close: () => folder.remove(),
  }
}

interface Taken {
  readonly seconds: number
  /** Peak anonymous memory of the program and of the process that owns its tables. */
  readonly mib: number
}

function rows(what: string, sizes: readonly number[], taken: readonly Taken[]): Gauge[] {
  const at = sizes.map((size) => `at ${size.toLocaleString('en-US')}`)
  const seconds = taken.map((one) => one.seconds)
  const times = seconds.map((one) => Math.max(one, SHORT_S))
  return [
    ...seconds.map((one, size) => ({ what: `${what}, ${at[size]}`, unit: 's', values: () => [one] })),
    { what: `${what}, growth of time`, unit: 'exponent', goal: 1.1, values: () => exponentsOf(sizes, times) },
    ...taken.map(({ mib }, size) => ({ what: `${what}, memory ${at[size]}`, unit: 'MiB', values: () => [mib] })),
  ]
}

async function run(args: readonly string[]): Promise<Taken> {
  const started_ms = performance.now()
  // With the flags of `npm run bench`, which are those of `./plumbline`.
  const child = spawn(process.execPath, [...process.execArgv, programFile(args), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = `${errors}${text}`.slice(-4_000)
  })
  let mib = 0
  const watch = setInterval(() => {
    const processes = [child.pid as number, ...startedBy(child.pid as number)]
    mib = Math.max(
      mib,
      processes.map(anonymousMib).reduce((sum, one) => sum + one, 0),
    )
  }, LOOK_MS)
  const [code] = await once(child, 'close')
  clearInterval(watch)
  if (code !== 0) throw new Error(`${args.join(' ')}: ended with ${code}\n${errors}`)
  return { seconds: (performance.now() - started_ms) / 1_000, mib }
}
