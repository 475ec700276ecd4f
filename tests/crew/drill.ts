import { setTimeout as wait } from 'node:timers/promises'
import { openDataFolder } from '../../cli/data-folder.ts'
import { prepareLog } from '../../cli/pipeline.ts'
import { accountsOf } from './accounts.ts'
import { Crew, type Planted } from './crew.ts'
import { wiring } from './data.ts'
import type { At } from './program.ts'

export interface DrillOptions<Step extends { readonly pause_ms: number }> {
  /** Holds what the processes say. */
  readonly root: string
  readonly at: At
  readonly seed: string
  readonly planted?: Planted | undefined
  readonly excuses: RegExp
  /** How long everything is left alone before each is its `pause_ms`. */
  readonly steps: readonly Step[]
  /** Does it, waits until the others have shown what they promise, and mends it. @returns what happened, for a person */
  readonly strike: (crew: Crew, step: Step) => Promise<string>
  /** Mends what a broken-off step has left. */
  readonly heal: () => Promise<void> | void
  /** What only this kind of log can tell. @returns breaches */
  readonly audit?: (counts: Record<string, number>) => Promise<readonly string[]>
  /** Told each line as it happens. */
  readonly report: (line: string) => void
}

export interface DrillResult {
  readonly breaches: readonly string[]
  readonly counts: Readonly<Record<string, number>>
  /** Deaths by place. */
  readonly deaths: Readonly<Record<string, number>>
}

/**
 * Producers, three workers, the sink and a reader on one log, and the faults of a schedule, one after the other. At the
 * end everything is healed, finished and counted.
 */
export async function drill<Step extends { readonly pause_ms: number }>(
  options: DrillOptions<Step>,
): Promise<DrillResult> {
  const { root, at, seed, planted, excuses, report } = options
  const began_ms = performance.now()
  const line = (text: string) => report(`${((performance.now() - began_ms) / 1_000).toFixed(1).padStart(6)} s  ${text}`)
  const breaches: string[] = []
  const counts: Record<string, number> = {}
  const broken = (breach: string) => {
    breaches.push(breach)
    line(`BROKEN: ${breach.split('\n')[0]}`)
  }

  const folder = await openDataFolder({ data: at.data, ...(at.log ? { log: at.log } : {}) }, { create: true })
  await prepareLog(folder, await wiring())
  await folder.close()
  const crew = new Crew({ root, data: at.data, log: at.log, seed, planted, excuses, onBreach: broken })
  // Whoever ends this one early must not leave a stopped process behind, which cannot see that it has gone.
  const killAll = () => {
    for (const slot of crew.slots.values()) slot.signal('SIGKILL')
  }
  process.once('exit', killAll)
  try {
    crew.start()
    const first = await crew.heard.first(0, 180_000, ({ message: { says } }) => says === 'committed')
    if (first === undefined) broken('nothing was committed within 180 s of the start')
    for (const [index, step] of options.steps.entries()) {
      if (breaches.length > 0) break
      await wait(step.pause_ms)
      line(`${String(index + 1).padStart(3)}. ${await options.strike(crew, step)}`)
    }
    line('healed: the producers end what they have begun, everybody stops')
    if (breaches.length === 0) {
      const ledger = await crew.end()
      line('finished as a person would: run --until-idle, sql, verify')
      const accounts = await accountsOf(at, ledger, crew.checkpoints)
      Object.assign(counts, accounts.counts)
      breaches.push(...accounts.breaches, ...((await options.audit?.(counts)) ?? []))
    }
  } catch (error) {
    broken(error instanceof Error ? error.message : String(error))
  } finally {
    await options.heal()
    await crew.kill()
    process.off('exit', killAll)
  }
  const deaths = Object.fromEntries([...crew.slots].map(([place, slot]) => [place, slot.deaths]))
  return { breaches, counts, deaths }
}

/** A drill and what came of it, as a text that a person reads. */
export async function drillReport({
  title,
  again,
  run,
}: {
  readonly title: string
  /** The command that does the same. */
  readonly again: string
  readonly run: (report: (line: string) => void) => Promise<DrillResult & { readonly folder: string | undefined }>
}): Promise<{ readonly ok: boolean; readonly text: string; readonly folder: string | undefined }> {
  const lines: string[] = []
  const report = (text: string) => {
    lines.push(text)
    console.log(text)
  }
  report(title)
  const { breaches, counts, deaths, folder } = await run(report)
  report(
    `deaths: ${Object.entries(deaths)
      .map(([place, n]) => `${place} ${n}`)
      .join(', ')}`,
  )
  for (const [what, n] of Object.entries(counts)) report(`${String(n).padStart(8)}  ${what}`)
  if (breaches.length === 0) report('nothing lost, nothing twice, the funnel holds, verify passes')
  else {
    for (const breach of breaches) report(`BROKEN: ${breach}`)
    report(again)
    report(`kept: ${folder}`)
  }
  return { ok: breaches.length === 0, text: lines.join('\n'), folder }
}
