import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { outputOf, start } from '../../testing/program.ts'

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const PYTHON = at('.venv-trl/bin/python')

/** @throws Error when torch and TRL are not installed */
export function assertInstalled(): void {
  if (!existsSync(PYTHON)) throw new Error(`${PYTHON}: expected torch and TRL; npm run test:trl installs them`)
}

export interface Sampled {
  readonly folder: string
  /** Completions of each group. */
  readonly size: number
  readonly groups: number
}

/** Groups with pictures, sampled by the tiny model, and a feed. @returns its address */
export async function sampled({ folder, size, groups }: Sampled, stops: (() => Promise<unknown>)[]): Promise<string> {
  const plumbline = (...args: string[]) => outputOf(args, start(args, { cwd: folder }).ended)
  const sampler = python(['-m', 'tests_torch.sampler'])
  stops.push(() => killed(sampler.child))
  const model = `openai(${(await sampler.line<{ url: string }>()).url}, tiny)`
  const dataset = ['--dataset', 'top_block', '--task', 'x_only', '--group-size', String(size)]
  await plumbline('generate', 'tower', ...dataset, '--scenes', String(groups), '--seed', '7')
  await plumbline('run', '--until-idle', '--policy', model, '--concurrency', '2')
  const feed = start(['feed', '--listen', '127.0.0.1:0', '--json'], { cwd: folder })
  stops.push(() => killed(feed.child))
  return await feedUrl(feed)
}

/** Runs a Python program to its end. @returns standard output */
export async function pythonOutput(args: readonly string[], cwd = at('python')): Promise<string> {
  return (await promisify(execFile)(PYTHON, args, { cwd, env: environment() })).stdout
}

/** Runs the tests of python/tests_torch. @returns what they printed */
export async function pythonTests(): Promise<string> {
  const discover = ['-m', 'unittest', 'discover', '-s', 'tests_torch', '-t', '.']
  const { stderr } = await promisify(execFile)(PYTHON, discover, { cwd: at('python'), env: environment() })
  return stderr
}

function environment(): NodeJS.ProcessEnv {
  // So small a model is slower with two threads, and sums in another order.
  return { ...process.env, OMP_NUM_THREADS: '1', HF_HUB_OFFLINE: '1', PYTHONPATH: at('python') }
}

/** A Python program that prints JSON, a line each, among lines of its libraries. */
export function python(args: readonly string[]) {
  const child = spawn(PYTHON, args, { cwd: at('python'), env: environment(), stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = `${stderr}${text}`.slice(-4_000)))
  const lines = () => stdout.split('\n').filter((line) => line.startsWith('{"'))
  const fail = (what: string) => new Error(`python ${args.join(' ')}: ${what}\n${stderr}`)
  return {
    child,
    async line<T>(): Promise<T> {
      while (!stdout.includes('\n')) {
        if (child.exitCode !== null) throw fail(`ended with ${child.exitCode}`)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      return JSON.parse(lines()[0] ?? '') as T
    },
    async last<T>(): Promise<T> {
      const [code, signal] = await once(child, 'close')
      if (code !== 0) throw fail(`ended with ${code ?? signal}`)
      return JSON.parse(lines().at(-1) ?? '') as T
    },
    async untilKilled<T>(): Promise<T[]> {
      const [code, signal] = await once(child, 'close')
      if (signal !== 'SIGKILL') throw fail(`expected to be killed, ended with ${code ?? signal}`)
      return lines().map((line) => JSON.parse(line) as T)
    },
  }
}

async function feedUrl(feed: ReturnType<typeof start>): Promise<string> {
  for (;;) {
    const said = /^\{.*\}\n/.exec(feed.stdout())
    if (said !== null) return (JSON.parse(said[0]) as { url: string }).url
    if (feed.child.exitCode !== null) throw new Error(`the feed ended: ${feed.stderr()}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function killed(child: ReturnType<typeof spawn>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'close')
  child.kill('SIGKILL')
  await ended
}
