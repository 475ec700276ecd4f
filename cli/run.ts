import type { Command } from 'commander'
import { DEFAULT_TUNING, WHEN_GONE, type WhenGone } from '../infra/runtime/work/worker.ts'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { type Listen, startMetrics } from '../pipeline/metrics.ts'
import { outsideOf } from '../pipeline/outside.ts'
import { runPipeline } from '../pipeline/run-pipeline.ts'
import { startSinks } from '../pipeline/sinks.ts'
import { number } from '../pipeline/text/number.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { prepareLog, wiringOf, wiringOn } from '../pipeline/wiring.ts'
import { isHttpPolicy, isRecorded, parseHttpPolicy } from '../processors/ask-policy/policy-name.ts'
import type { Stage } from '../processors/processor.ts'
import { DIALECTS } from '../schemas/events/rollout.ts'
import type { Sink } from '../sinks/sink.ts'
import { recordedCompletions } from '../sources/recorded-completions.ts'
import { runSource } from '../sources/run-source.ts'
import { SINKS } from '../streams/domain.ts'
import { DEFAULTS, DOMAINS, type Topology } from '../streams/topology.ts'
import { chosenSinks, isSink } from './chosen-sinks.ts'
import { listenAddress } from './listen.ts'
import { fraction, globals, oneOfWords, stopSignal, wholeNumber } from './options.ts'
import { Progress } from './progress.ts'
import { RunReport } from './run-report.ts'
import { placesIn, withSinkOptions } from './sink-options.ts'
import { SQL_MEMORY } from './sql-memory.ts'

interface RunOptions {
  domain?: string[]
  only?: string[]
  policy: string
  temperature?: number
  maxTokens?: number
  concurrency?: number
  timeout?: number
  adapters?: string
  maxStaleness?: number
  dialect: (typeof DIALECTS)[number]
  whenGone: WhenGone
  untilIdle: boolean
  expirePending: boolean
  sink: boolean
  sqlMemory?: number
  metrics?: Listen
}

export function addRun(command: Command): void {
  command
    .option(
      '--policy <policy>',
      'oracle, noisy-oracle(σ), random-legal, constant(TEXT), recorded(FILE.jsonl), openai(URL, MODEL), openai(URL, lineage:LINEAGE) or onnx(ROLE)',
      DEFAULTS.policy,
    )
    .option('--temperature <t>', 'with openai(…): temperature of every completion', fraction('temperature', 0, 5))
    .option('--max-tokens <n>', 'with openai(…): most tokens of a completion', wholeNumber('max-tokens', 1, 1_000_000))
    .option('--concurrency <n>', 'with openai(…): concurrent calls', wholeNumber('concurrency', 1, 4_096))
    .option('--timeout <seconds>', 'with openai(…): time limit of one call', fraction('timeout', 0.01, 86_400))
    .option('--adapters <dir>', 'with lineage:LINEAGE: a folder that the server sees under the same path')
    .option(
      '--max-staleness <n>',
      'with lineage:LINEAGE: versions that stay loaded besides the active one (default: 1)',
      wholeNumber('max-staleness', 0, 16),
    )
    .option(
      '--dialect <name>',
      `how advantages are normalised: ${DIALECTS.join(', ')}`,
      oneOfWords('dialect', DIALECTS),
      DEFAULTS.dialect,
    )
    .option(
      '--domain <name...>',
      `only processors of these domains, and of those that they build on: ${DOMAINS.map(({ name }) => name).join(', ')}`,
    )
    .option('--only <name...>', 'only these processors, or only these sinks')
    .option(
      '--when-gone <policy>',
      `when retention removed unread records: ${WHEN_GONE.join(', ')}`,
      oneOfWords('when-gone', WHEN_GONE),
      DEFAULT_TUNING.when_gone,
    )
    .option('--until-idle', 'stop when all records are processed and loaded', false)
    .option('--expire-pending', 'with --until-idle: expire all open groups at the end', false)
    .option('--no-sink', 'do not load into DuckDB')
  withSinkOptions(command, ({ about }) => `also ${about}`)
    .option(...SQL_MEMORY)
    .option(
      '--metrics <host:port>',
      'serve /metrics (OpenMetrics), /healthz and /readyz at this address',
      listenAddress('metrics', '127.0.0.1:9464'),
    )
    .action(async (options: RunOptions, command: Command) => {
      const global = globals(command)
      if (options.expirePending && !options.untilIdle) {
        throw new UsageError('--expire-pending only makes sense at the end of the work', 'add --until-idle')
      }
      const { policy, dialect, temperature, maxTokens: max_tokens, concurrency, timeout } = options
      if (
        !isHttpPolicy(policy) &&
        [temperature, max_tokens, concurrency, timeout].some((given) => given !== undefined)
      ) {
        throw new UsageError(
          '--temperature, --max-tokens, --concurrency and --timeout are of a policy over HTTP',
          "leave them out, or use --policy 'openai(URL, MODEL)'",
        )
      }
      const places = placesIn(options)
      const sink_names = chosenSinks(options, places)
      const chosen = {
        policy,
        dialect,
        sampling: { temperature, max_tokens },
        max_staleness: options.maxStaleness,
        sinks: sink_names,
      }
      const only = partsToRun(await wiringOf(chosen), options, sink_names)
      expectAdapters(options)
      const only_sinks = only.length > 0 && only.every((name) => isSink(name))

      const recording = isRecorded(options.policy) ? await recordedCompletions(options.policy) : undefined

      const folder = await openDataFolder(global, { create: true })
      const signal = stopSignal()
      const stopped = () => options.untilIdle && signal.aborted
      const report = new RunReport({ silent: global.json })
      const started = startSinks(sink_names, { places, memory: options.sqlMemory }, (message) => report.say(message))
      try {
        const wiring = await wiringOn(folder, global, chosen)
        await prepareLog(folder, wiring)
        if (recording !== undefined) {
          const progress = new Progress('recorded completions', { silent: global.json })
          const { log, blobs } = folder
          const { done, already } = await runSource(recording, {
            log,
            blobs,
            partitions: wiring.partitions,
            signal,
            onProgress: (step, steps) => progress.at(step, steps),
          })
          progress.done(
            `${number(done)} parts of groups${already > 0 ? `, ${number(already)} were there already` : ''}`,
          )
        }
        const sinks = await started.open(folder, wiring)
        let watched: Awaited<ReturnType<typeof startMetrics>> | undefined
        try {
          if (options.metrics !== undefined) {
            watched = await startMetrics(options.metrics, folder, wiring, only, sinks)
            signal.addEventListener('abort', () => watched?.metrics.stop(), { once: true })
            report.say(`metrics at http://${watched.server.address}/metrics`)
          }
          await runPipeline({
            folder,
            topology: wiring,
            sinks,
            only,
            until_idle: options.untilIdle,
            expire_pending: options.expirePending,
            signal,
            outside: outsideOf({ concurrency, timeout_s: timeout, adapters: options.adapters }),
            tuning: { when_gone: options.whenGone },
            onWorkerEvent: (processor, event) => {
              report.workerEvent(processor, event)
              watched?.metrics.workerEvent(processor, event)
            },
            onLag: (lag) => report.lag(lag),
          })
          if (stopped()) {
            report.say(`stopped before the end${await notLoaded(sinks)}; the same command resumes`)
          }
        } finally {
          await watched?.server.close()
        }
        await started.close()
        report.sinks(sinks)
        report.end({ stopped: stopped(), only_sinks })
        if (global.json) process.stdout.write(`${JSON.stringify(report.totals())}\n`)
      } finally {
        await started.close()
        await folder.close()
      }
    })
}

/** @throws UsageError for a lineage without a folder, or the other way round */
function expectAdapters({ policy, adapters, maxStaleness }: RunOptions): void {
  const of_lineage = isHttpPolicy(policy) && parseHttpPolicy(policy).lineage !== undefined
  if (of_lineage && adapters === undefined) {
    throw new UsageError(
      `--policy ${policy}: its server reads adapters from a folder that it shares with this program`,
      'name it: --adapters DIR',
    )
  }
  if (of_lineage || (adapters === undefined && maxStaleness === undefined)) return
  throw new UsageError(
    '--adapters and --max-staleness are of a policy that loads the adapters of a lineage',
    "leave them out, or use --policy 'openai(URL, lineage:LINEAGE)'",
  )
}

/**
 * The processors and sinks to run, by name, in the order of the flow; none: all of them.
 *
 * @throws UsageError for a domain, processor or sink that there is not
 */
export function partsToRun(
  { domains, stages: all }: Pick<Topology, 'domains'> & { readonly stages: readonly Pick<Stage, 'name'>[] },
  { domain: chosen, only = [] }: Pick<RunOptions, 'domain' | 'only'>,
  sinks: readonly string[],
): readonly string[] {
  const unknown = chosen?.find((name) => domains.every((domain) => domain.name !== name))
  if (unknown !== undefined) {
    const there = domains.map(({ name }) => name).join(', ')
    throw new UsageError(`--domain ${unknown}: no such domain`, `there are ${there}`)
  }
  const running = chosen === undefined ? undefined : withFoundations(chosen, domains)
  const of_domains = domains.filter(({ name }) => running?.has(name) ?? true).flatMap((domain) => domain.stages)
  const stages = all.map(({ name }) => name).filter((name) => of_domains.includes(name))
  if (chosen !== undefined && stages.length === 0) {
    throw new UsageError(`--domain ${chosen.join(' ')}: no processor belongs to it`, 'leave it out to run all of them')
  }
  const missing = only.find((name) => ![...stages, ...sinks].includes(name))
  if (missing !== undefined) {
    const where = chosen === undefined ? '' : ` of ${chosen.join(', ')}`
    throw new UsageError(
      `--only ${missing}: no such processor or sink${where}`,
      `there are ${[...stages, ...SINKS].join(', ')}`,
    )
  }
  return only.length > 0 || chosen === undefined ? only : stages
}

/** These domains, those that they build on, those that these build on, and so on. */
function withFoundations(chosen: readonly string[], domains: Topology['domains']): ReadonlySet<string> {
  const all = new Set(chosen)
  // A set's iteration includes what is added meanwhile.
  for (const name of all) {
    for (const on of domains.find((domain) => domain.name === name)?.builds_on ?? []) all.add(on)
  }
  return all
}

/** How many records are not loaded yet, if the lag can still be read. */
async function notLoaded(sinks: readonly Sink[]): Promise<string> {
  const lags: string[] = []
  for (const sink of sinks) {
    const behind = await sink.lag().catch(() => undefined)
    if (behind === undefined) continue
    const of = sinks.length > 1 ? ` into ${sink.name}` : ''
    lags.push(`${number(Number(behind))} records are not loaded${of} yet`)
  }
  return lags.length === 0 ? '' : `: ${lags.join(', ')}`
}
