import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { programFile } from '../../bundle/program-file.mjs'
import { memoryBlobs } from '../../infra/blobs/memory.ts'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { groupFormed, rolloutRequested } from '../../schemas/events/rollout.ts'
import { ConsumerState } from '../../sinks/feed/consumer-state.ts'
import { eventsOf } from '../../sinks/feed/history.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { type At, plumbline, plumblineOk, sql } from '../../testing/crew/program.ts'
import { linearOnnx } from '../../testing/tiny-onnx.ts'
import { Process } from './kept-running.ts'
import { type Kill, scheduleOf } from './kills.ts'
import { lengthBreaches, SAMPLED_GROUPS, type SampledGroup } from './lengths.ts'

export interface TrainingTestOptions {
  readonly seed: string
  readonly kills: number
  /** Address of a log outside the folder. */
  readonly log?: string
  /** How the ranks get their groups: from a feed, or from the log, which is then on Kafka. Default: `http`. */
  readonly over?: 'http' | 'kafka'
  readonly report?: (line: string) => void
  /**
   * Staleness on, in steps: the trainer publishes its weights, and completions come from a sampler that follows them,
   * long ones later than short ones. Groups that are older are dropped. Over HTTP.
   */
  readonly max_staleness?: number
  /** A bug in the trainer, which must be found. */
  readonly plant?: 'old-weights' | 'skips-long'
}

export interface TrainingResult {
  readonly breaches: readonly string[]
  readonly counts: Readonly<Record<string, number>>
  /** Kept when there are breaches. */
  readonly folder: string | undefined
}

const RANKS = 2
const BATCH = 2
const EVERY = 4
const SCENES_PER_SECOND = 12
const PATIENCE_MS = 60_000
const PYTHON = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))
const CLIENT = fileURLToPath(new URL('../../python', import.meta.url))
const at = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/**
 * Two ranks train on what a sampler, a scorer and a feed give them, while processes are killed. In the end every formed
 * group is inside the weights of the last checkpoint once, and the ledger tells the same. With staleness on, every group
 * that is not dropped is, and in each bin of lengths all sampled groups are the one or the other.
 */
export async function trainingTest(options: TrainingTestOptions): Promise<TrainingResult> {
  const root = mkdtempSync(join(tmpdir(), 'plumbline-training-'))
  const test = new Training(root, options)
  try {
    await test.run()
  } catch (error) {
    test.breaches.push(error instanceof Error ? error.message : String(error))
  } finally {
    await test.end()
  }
  const keep = test.breaches.length > 0
  if (!keep) rmSync(root, { recursive: true, force: true })
  return { breaches: test.breaches, counts: test.counts, folder: keep ? root : undefined }
}

class Training {
  readonly breaches: string[] = []
  readonly counts: Record<string, number> = {}
  readonly #root: string
  readonly #options: TrainingTestOptions
  readonly #at: At
  readonly #port: Promise<number>
  readonly #running = new Map<string, Process>()
  #attempts = 0
  #ranks: readonly Process[] = []
  /** Whether all ranks have ended because they were done. */
  #is_done = false
  #is_ending = false
  #training: Promise<void> = Promise.resolve()

  constructor(root: string, options: TrainingTestOptions) {
    this.#root = root
    this.#options = options
    this.#at = { data: join(root, 'data'), log: options.log }
    this.#port = freePort()
    mkdirSync(join(root, 'trainer'))
  }

  async run(): Promise<void> {
    const { seed, kills, report } = this.#options
    this.#keep('generate', [
      'generate',
      'tower',
      ...DATASET,
      '--seed',
      seed,
      '--forever',
      '--rate',
      String(SCENES_PER_SECOND),
      // What waits for longer is too old.
      ...(this.#has_staleness ? ['--ahead-of', `lab=${MOST_AHEAD}`] : []),
    ])
    if (this.#has_staleness) this.#startVersions()
    else this.#keep('sampler', ['run', '--no-sink', '--only', 'sample-completions'])
    this.#keep('scorer', ['run', '--no-sink', '--only', 'score-completions', 'form-groups'])
    this.#keep('sink', ['run', '--only', 'duckdb'])
    if (this.#over === 'http') await this.#startFeed()
    this.#training = this.#train()
    await this.#progress('the first step')
    for (const [number, kill] of scheduleOf(seed, kills, this.#over).entries()) {
      report?.(`${number + 1}. kill ${kill.who}: ${kill.when} ${kill.path ?? ''}`)
      await this.#strike(kill)
      await this.#progress(`a step after kill ${number + 1}`)
    }
    if (this.#has_staleness) await this.#until(`step ${LEAST_STEPS}`, () => this.#lastStep() >= LEAST_STEPS, 3)
    await this.#finish()
    await this.#audit()
  }

  #lastStep(): number {
    const lines = this.#ranks.flatMap((rank) => rank.lines.filter((line) => line.startsWith('{')))
    return Math.max(0, ...lines.map((line) => Number((JSON.parse(line) as { step?: number }).step ?? 0)))
  }

  async end(): Promise<void> {
    this.#is_ending = true
    await Promise.all([...this.#running.values(), ...this.#ranks].map((process) => process.kill()))
    await this.#training.catch(() => undefined)
  }

  /** Starts a command of the program, and again whenever it was killed. */
  #keep(name: string, args: readonly string[]): void {
    const { data, log } = this.#at
    const say = (why: string) => {
      throw new Error(why)
    }
    const flags = ['--data', data, ...(log ? ['--log', log] : [])]
    this.#restart(name, process.execPath, [...NODE_FLAGS, programFile(args, { say }), ...flags, ...args])
  }

  #restart(name: string, command: string, args: readonly string[]): void {
    const started = new Process({
      ...{ name, command, args, cwd: this.#root, output: join(this.#root, `${name}.log`) },
      onEnd: (code, signal) => {
        if (this.#is_ending) return
        if (signal === 'SIGKILL') {
          this.#count(`kills of ${name}`)
          this.#restart(name, command, args)
        } else if (code !== 0) {
          this.breaches.push(`${name} ended with ${signal ?? code}: ${started.tail.trim()}`)
        }
      },
    })
    this.#running.set(name, started)
  }

  async #startFeed(): Promise<void> {
    const { data, log = '' } = this.#at
    const args = [...NODE_FLAGS, at('feed-program.ts'), data, log, String(await this.#port), this.#order]
    if (this.#has_staleness) args.push(this.#tokens)
    this.#restart('feed', process.execPath, args)
  }

  /** A sampler that follows the models of the run, and what the trainer needs to publish them. */
  #startVersions(): void {
    const { data, log = '' } = this.#at
    writeFileSync(this.#model, linearOnnx(2, 1))
    const sha256 = createHash('sha256').update(TOKEN).digest('hex')
    const trainer = { name: 'trainer', sha256, consumers: ['lab'], roles: ['read', 'receipts', 'publish'], events: [] }
    writeFileSync(this.#tokens, JSON.stringify({ tokens: [trainer] }))
    this.#restart('sampler', process.execPath, [...NODE_FLAGS, at('versioned-sampler.ts'), data, log])
  }

  get #has_staleness(): boolean {
    return this.#options.max_staleness !== undefined
  }

  get #model(): string {
    return join(this.#root, 'trainer', 'model.onnx')
  }

  get #tokens(): string {
    return join(this.#root, 'tokens.json')
  }

  get #order(): string {
    return join(this.#root, 'trainer', 'die.json')
  }

  get #over(): 'http' | 'kafka' {
    return this.#options.over ?? 'http'
  }

  async #train(): Promise<void> {
    await this.#trainWith(RANKS)
    // Partitions have unequal numbers of groups, and drops leave unequal numbers to ranks: one rank trains on what the others have left.
    if (this.#over === 'kafka' || this.#has_staleness) await this.#trainWith(1)
    this.#is_done = !this.#is_ending
  }

  /** Runs the ranks; when one ends, all of them start again, as torchrun does. */
  async #trainWith(world_size: number): Promise<void> {
    for (let done = 0; !this.#is_ending && done < world_size; ) {
      const attempt = `attempt-${this.#attempts++}`
      const ranks = Array.from({ length: world_size }, (_, rank) => this.#rank(rank, world_size, attempt))
      this.#ranks = await Promise.all(ranks)
      const ended = await Promise.all(
        this.#ranks.map(async (rank) => {
          const { code, signal } = await rank.ended
          if (code !== 0) await Promise.all(this.#ranks.map((other) => other.kill()))
          return { rank, code, signal }
        }),
      )
      done = ended.filter(({ code }) => code === 0).length
      for (const { rank, code, signal } of ended) {
        if (signal === 'SIGKILL') this.#count('ends of ranks')
        else if (code !== 0 && code !== LOST) throw new Error(`${rank.name} ended with ${code}: ${rank.tail.trim()}`)
      }
    }
  }

  async #rank(rank: number, world_size: number, attempt: string): Promise<Process> {
    const every = this.#has_staleness ? EVERY_WITH_MODEL : EVERY
    const numbers = { rank, 'world-size': world_size, batch: BATCH, every }
    const from =
      this.#over === 'http' ? { url: `http://127.0.0.1:${await this.#port}` } : { kafka: this.#options.log ?? '' }
    const texts = { ...from, attempt, folder: join(this.#root, 'trainer') }
    const { plant = '', max_staleness } = this.#options
    const versions = max_staleness === undefined ? {} : { model: this.#model, 'max-staleness': max_staleness }
    const args = Object.entries({ ...numbers, ...texts, ...versions, plant }).flatMap(([name, value]) => [
      `--${name}`,
      String(value),
    ])
    return new Process({
      ...{ name: `rank-${rank}`, command: PYTHON, args: [at('trainer.py'), ...args], cwd: this.#root },
      env: {
        ...{ PYTHONPATH: CLIENT, PYTHONDONTWRITEBYTECODE: '1' },
        ...(this.#has_staleness ? { PLUMBLINE_FEED_TOKEN: TOKEN } : {}),
      },
      output: join(this.#root, `rank-${rank}.log`),
    })
  }

  async #strike({ who, when, path }: Kill): Promise<void> {
    const process = this.#running.get(who)
    if (process !== undefined && who !== 'feed') {
      await wait(Number(when))
      await process.kill()
      return
    }
    writeFileSync(`${this.#order}.part`, JSON.stringify(path === undefined ? { who, when } : { who, when, path }))
    renameSync(`${this.#order}.part`, this.#order)
    // A run is started only by ranks that start.
    if (path === '/runs') await this.#ranks[RANKS - 1]?.kill()
    await this.#until(`${who} dies ${when} ${path ?? 'of its commit'}`, () => !existsSync(this.#order))
  }

  /** Waits for an optimiser step of every rank that begins from now on. */
  async #progress(what: string): Promise<void> {
    const before = this.#ranks
    const seen = new Map(before.map((rank) => [rank, rank.lines.length]))
    await this.#until(what, () =>
      this.#ranks.every((rank) => rank.lines.slice(seen.get(rank) ?? 0).some((line) => line.includes('"applied"'))),
    )
  }

  /** No more scenes; every group forms and is trained on. */
  async #finish(): Promise<void> {
    await this.#running.get('generate')?.kill('SIGTERM')
    const before = await this.#requested()
    // Equally many groups for each rank.
    const more = before % RANKS === 0 ? RANKS : 1
    await plumblineOk(this.#at, ['generate', 'tower', ...DATASET, '--seed', 'more', '--scenes', String(more)])
    const expected = await this.#requested()
    this.#expect('requests after the last ones', expected, before + more)
    await this.#until('every group is formed', async () => (await this.#formed()) === expected)
    writeFileSync(join(this.#root, 'trainer', 'over'), '')
    await this.#until('the trainer is done', () => this.#is_done)
    await this.#training
  }

  /** How many requests the log has; nothing appends more. */
  async #requested(): Promise<number> {
    await this.#until('the tables have every request', async () => {
      const { groups } = JSON.parse(await plumblineOk(this.#at, ['lag', '--json'])) as Lag
      const tables = groups.find(({ group }) => group === 'duckdb')
      const topics = (tables?.partitions ?? []).flatMap((partition) => partition.topics)
      const requests = topics.filter(({ topic }) => topic === rolloutRequested.type)
      return requests.length > 0 && requests.every(({ messages }) => messages === 0)
    })
    const [{ count = 0 } = {}] = await sql<{ count: number }>(
      this.#at,
      'select count(*)::int as count from rollout.requested',
    )
    return count
  }

  async #formed(): Promise<number> {
    const [{ count = 0 } = {}] = await sql<{ count: number }>(
      this.#at,
      'select count(distinct group_id)::int as count from rollout.group_formed',
    )
    return count
  }

  async #audit(): Promise<void> {
    const formed = await this.#formed()
    const lab = await this.#consumer()
    // Without staleness nothing may be dropped.
    const dropped = this.#has_staleness ? lab.counts.dropped : 0
    const durable = formed - dropped
    const none = { numbered: 0, leased: 0, applied: 0 }
    this.#expect('groups by the training events', lab.counts, { ...none, durable, dropped, expired: 0 })
    const last = lab.checkpoints.at(-1)?.checkpoint ?? ''
    const weights = this.#weightsOf(last)
    const off = Object.entries(weights).filter(([, times]) => times !== 1)
    this.#expect('groups that are inside the weights more than once', off, [])
    this.#expect('groups inside the weights', Object.keys(weights).length, durable)
    await this.#until('the tables have every event', () => this.#isLoaded(last, dropped))
    const ledger = await sql<{ group_id: string; state: string }>(
      this.#at,
      "select group_id, state from ledger where consumer = 'lab'",
    )
    this.#expect(
      'groups of the ledger that are durable and not inside the weights, or the other way round',
      ledger.filter(({ group_id, state }) => (state === 'durable') !== (weights[group_id] === 1)),
      [],
    )
    const [row] = await sql<Record<string, number>>(
      this.#at,
      'select matching::int as matching, durable::int as durable, dropped::int as dropped, waiting::int as waiting, lost::int as lost from consumers',
    )
    this.#expect('the view consumers', row, { matching: formed, durable, dropped, waiting: 0, lost: 0 })
    if (this.#has_staleness) await this.#auditLengths(weights)
    await this.end()
    const verified = await plumbline(this.#at, ['verify'])
    if (verified.code !== 0) this.breaches.push(`verify: ${verified.stdout}${verified.stderr}`)
    this.counts['groups formed'] = formed
    this.counts['starts of the ranks'] = this.#attempts
  }

  async #auditLengths(weights: Readonly<Record<string, number>>): Promise<void> {
    const groups = await sql<SampledGroup>(this.#at, SAMPLED_GROUPS)
    const count = (what: string, groups: number) => {
      this.counts[what] = groups
    }
    this.breaches.push(...lengthBreaches(groups, weights, count))
    const [models] = await sql<{ count: number }>(
      this.#at,
      'select count(distinct model_id)::int as count from model.published',
    )
    this.counts['models published'] = models?.count ?? 0
  }

  /** The consumer as the feed has it; over Kafka, as the feed's fold makes it of the events that the ranks wrote. */
  async #consumer(): Promise<Pick<ConsumerState, 'counts' | 'checkpoints'>> {
    if (this.#over === 'http') {
      const headers = { authorization: `Bearer ${TOKEN}` }
      const answer = await fetch(`http://127.0.0.1:${await this.#port}/v1/consumers/lab`, { headers })
      return (await answer.json()) as Pick<ConsumerState, 'counts' | 'checkpoints'>
    }
    const log = await openKafkaLog({ address: this.#options.log ?? '' })
    try {
      const state = new ConsumerState('lab')
      const reading = { log, blobs: memoryBlobs(), vocabulary: catalogueOf(catalogue), partitions: PARTITIONS }
      for await (const event of eventsOf(reading, 'lab')) state.apply(event)
      const committed = (await log.committed('feed/lab')).filter(({ topic }) => topic === groupFormed.type)
      const positions = committed.map(({ partition, next }) => [partition, Number(next)])
      this.#expect('offsets of the group feed/lab', positions.sort(), [...state.drawn].sort())
      return state
    } finally {
      await log.close()
    }
  }

  /** Whether the tables have this checkpoint and so many drops, the last events of the consumer, and all before them. */
  async #isLoaded(checkpoint: string, dropped: number): Promise<boolean> {
    const found = await sql(
      this.#at,
      `select 1 as one from consumers where checkpoint = '${checkpoint}' and dropped = ${dropped} and missing = 0 and ahead = 0`,
    )
    return found.length > 0
  }

  #weightsOf(checkpoint: string): Record<string, number> {
    const folder = join(this.#root, 'trainer', 'checkpoints')
    for (const file of readdirSync(folder)) {
      if (!file.endsWith('.json')) continue
      const saved = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
        checkpoint: string
        extra: { counts: Record<string, number> }
      }
      if (saved.checkpoint === checkpoint) return saved.extra.counts
    }
    throw new Error(`${folder}: expected the file of ${checkpoint}, found none`)
  }

  #expect(what: string, got: unknown, expected: unknown): void {
    const [one, other] = [JSON.stringify(got), JSON.stringify(expected)]
    if (one !== other) this.breaches.push(`${what}: expected ${other}, got ${one?.slice(0, 2_000)}`)
  }

  async #until(what: string, is: () => boolean | Promise<boolean>, times = 1): Promise<void> {
    const until_ms = performance.now() + times * PATIENCE_MS
    while (!(await is())) {
      if (this.breaches.length > 0) throw new Error(`waiting until ${what}`)
      if (performance.now() > until_ms)
        throw new Error(`${(times * PATIENCE_MS) / 1000} s were not enough until ${what}`)
      await Promise.race([wait(50), this.#training.then(() => wait(50))])
    }
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}

/** What a person would get from `plumbline feed token`. */
const TOKEN = 'a-token-of-the-training-test'
/** Groups that may be asked for and not trained on. */
const MOST_AHEAD = 16
/** With staleness on: checkpoints, each with a model, and least steps, so that enough groups are of each age. */
const EVERY_WITH_MODEL = 2
const LEAST_STEPS = 36

/** What `lag --json` prints, as far as it is read here. */
interface Lag {
  readonly groups: readonly {
    readonly group: string
    readonly partitions: readonly {
      readonly topics: readonly { readonly topic: string; readonly messages: number }[]
    }[]
  }[]
}

const DATASET = ['--dataset', 'top_block', '--task', 'x_only', '--group-size', '2']
/** Of a log that is created without the option. */
const PARTITIONS = 4
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--liftoff-only']
/** The exit code of a rank that lost its lease or was fenced. */
const LOST = 3

/** A port that was free a moment ago: a feed that starts again listens where the last one did. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
