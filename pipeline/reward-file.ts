import { createHash } from 'node:crypto'
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import {
  type CustomReward,
  type RecordedCompletion,
  type Reward,
  RewardFunctionError,
} from '../processors/rescore-completions/custom-reward.ts'
import { FileError, readSmallFile, utf8Text } from '../sources/plain-file.ts'
import { packCompletions, unpackRewards } from './reward-messages.ts'
import type { Answer, Exports, FromThread, ThreadData } from './reward-thread.ts'
import { UsageError } from './usage-error.ts'

/** The smallest reward file, which messages about a wrong one show as an example. */
export const EXAMPLE = `export const version = 1
export function reward({ outcome, distance_world }) { return outcome === 'stable' ? 1 - distance_world : 0 }`

export interface RewardFile extends CustomReward {
  readonly file: string
  readonly source: string
  /** Ends its thread; pending evaluations fail. */
  close(): Promise<void>
}

/** Inferred: a reward of one event's completions takes microseconds. */
export const REWARD_TIME_LIMIT_S = 10

const THREAD_MEMORY_MB = 1_024

/**
 * Starts a reward file in its own thread: a plain module with `version` and one exported function.
 *
 * @throws UsageError naming the file, what was expected and what was found.
 */
export async function readRewardFile(
  path: string,
  { name, dialect }: Pick<CustomReward, 'name' | 'dialect'>,
  time_limit_s = REWARD_TIME_LIMIT_S,
): Promise<RewardFile> {
  const bytes = await readSmallFile(path).catch((error: unknown) => {
    throw error instanceof FileError ? new UsageError(`--reward: ${error.message}`, REMEDY, { cause: error }) : error
  })
  const source = utf8Text(bytes, `--reward ${path}`)
  const source_sha256 = sha256(bytes)
  // The hash in the URL makes a changed file a different module.
  const address = `${pathToFileURL(resolve(path)).href}?sha256=${source_sha256}`
  const file = basename(path)
  const thread = new RewardThread({ address, file }, time_limit_s)
  try {
    const exports = await thread.loaded().catch((error: Error) => {
      throw new UsageError(
        `--reward ${path}: expected a JavaScript or TypeScript module, but loading it failed: ${error.message}`,
        'types must be erasable (no enum, no namespace); imports name their file with its ending',
        { cause: error },
      )
    })
    const [version, functionName] = refuseOtherExports(path, exports)
    if (sha256(await readSmallFile(path)) !== source_sha256) {
      throw new UsageError(`--reward ${path}: was changed while it was read`, 'type the command again')
    }
    return {
      ...{ name, dialect, version, file, source_sha256 },
      where: `${file} ${functionName}()`,
      source,
      evaluate: (completions) => thread.evaluate(completions),
      close: () => thread.close(),
    }
  } catch (error) {
    await thread.close()
    throw error
  }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

function refuseOtherExports(path: string, { names, functions, version }: Exports): [version: number, name: string] {
  const others = names.filter((name) => name !== 'version' && !functions.includes(name))
  const [chosen] = functions
  if (chosen === undefined || functions.length > 1 || others.length > 0) {
    throw new UsageError(
      `--reward ${path}: expected one exported function and a version, got exports ${names.join(', ') || 'nothing'}`,
      functions.length > 1 ? 'export the one that is the reward; keep the others to the file' : REMEDY,
    )
  }
  if (!Number.isSafeInteger(version) || (version as number) < 0 || (version as number) >= 2 ** 31) {
    throw new UsageError(
      `--reward ${path}: export version: expected a whole number from 0, got ${version === undefined ? 'none' : JSON.stringify(version)}`,
      'add a line: export const version = 1',
    )
  }
  return [version as number, chosen]
}

const REMEDY = `the smallest one has two lines:\n\n${EXAMPLE.replaceAll(/^/gm, '    ')}\n`

interface Question {
  readonly completions: readonly RecordedCompletion[]
  readonly resolve: (rewards: readonly Reward[]) => void
  readonly reject: (error: Error) => void
}

/**
 * A reward file's thread. Requests are answered in order, each within the time limit. Those of one turn of the event
 * loop are sent as one message: a message for each event costs several times as much as evaluating it.
 */
class RewardThread {
  readonly #file: string
  readonly #time_limit_s: number
  readonly #worker: Worker
  /** Not sent yet. */
  #asked: Question[] = []
  /** One entry for each message without an answer. */
  readonly #sent: (readonly Question[])[] = []
  readonly #began_ns = new BigInt64Array(new SharedArrayBuffer(8))
  readonly #loaded = Promise.withResolvers<Exports>()
  #ended: Error | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(data: Pick<ThreadData, 'address' | 'file'>, time_limit_s: number) {
    this.#file = data.file
    this.#time_limit_s = time_limit_s
    this.#worker = new Worker(new URL('./reward-thread.ts', import.meta.url), {
      workerData: { ...data, began_ns: this.#began_ns.buffer } satisfies ThreadData,
      // The file's prints are not output of the command: they go to standard error.
      stdout: true,
      execArgv: ['--disable-warning=ExperimentalWarning'],
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MEMORY_MB },
    })
    this.#worker.stdout.pipe(process.stderr, { end: false })
    this.#worker.on('message', (message: FromThread) => this.#take(message))
    this.#worker.on('error', (error: NodeJS.ErrnoException) => {
      const memory = error.code === 'ERR_WORKER_OUT_OF_MEMORY'
      this.#end(memory ? `it takes more than ${THREAD_MEMORY_MB} MB of memory` : `it failed aside: ${error.message}`)
    })
    this.#worker.on('exit', (code) => this.#end(`it ended its thread (process.exit(${code}))`))
    this.#loaded.promise.catch(() => undefined)
    this.#worker.on('online', () => this.#watch())
  }

  loaded(): Promise<Exports> {
    return this.#loaded.promise
  }

  evaluate(completions: readonly RecordedCompletion[]): Promise<readonly Reward[]> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    if (completions.length === 0) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      this.#asked.push({ completions, resolve, reject })
      if (this.#asked.length === 1) queueMicrotask(() => this.#send())
    })
  }

  async close(): Promise<void> {
    this.#end('it was closed')
    await this.#worker.terminate()
  }

  #send(): void {
    const questions = this.#asked
    if (questions.length === 0) return
    this.#asked = []
    this.#sent.push(questions)
    if (this.#sent.length === 1) this.#watch()
    this.#worker.postMessage(packCompletions(questions.map(({ completions }) => completions)))
  }

  #take(message: FromThread): void {
    clearTimeout(this.#timer)
    if (message.kind === 'loaded') this.#loaded.resolve(message.exports)
    else if (message.kind === 'not_loaded') this.#loaded.reject(new Error(message.message))
    else {
      const questions = this.#sent.shift() ?? []
      for (const [at, { resolve, reject }] of questions.entries()) {
        const answer = message.answers[at] as Answer
        if (typeof answer === 'string') reject(new RewardFunctionError(answer))
        else resolve(unpackRewards(answer))
      }
    }
    if (this.#sent.length > 0) this.#endIfLate()
  }

  /** Call when an idle thread gets work: its time starts now. */
  #watch(): void {
    Atomics.store(this.#began_ns, 0, process.hrtime.bigint())
    this.#endIfLate()
  }

  /** Ends the thread if it has worked on the same event for longer than the limit; looks again when it could have. */
  #endIfLate(): void {
    clearTimeout(this.#timer)
    const worked_ms = Number(process.hrtime.bigint() - Atomics.load(this.#began_ns, 0)) / 1e6
    const left_ms = this.#time_limit_s * 1_000 - worked_ms
    if (left_ms > 0) {
      this.#timer = setTimeout(() => this.#endIfLate(), Math.ceil(left_ms))
      return
    }
    this.#end(`it took longer than ${this.#time_limit_s} s (--reward-time-limit)`)
    void this.#worker.terminate()
  }

  #end(why: string): void {
    clearTimeout(this.#timer)
    if (this.#ended !== undefined) return
    this.#ended = new RewardFunctionError(`${this.#file}: ${why}`)
    this.#loaded.reject(new Error(why))
    for (const { reject } of [...this.#sent.splice(0).flat(), ...this.#asked.splice(0)]) reject(this.#ended)
  }
}
