import { setTimeout as wait } from 'node:timers/promises'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import { estimated } from '../batched-model.ts'
import { accountsOf } from './accounts.ts'
import { Crew } from './crew.ts'
import { POLICY, wiring } from './data.ts'
import { type MadeAgain, makeTopicAgain, tellMadeAgain } from './made-again.ts'
import { otherBatches, prepareModel } from './model.ts'
import { type Planted, withPlanted } from './planted.ts'
import { type At, plumblineOk } from './program.ts'

export interface DrillOptions<Step extends { readonly pause_ms: number }> {
  /** Folder for the output of the processes. */
  readonly root: string
  readonly at: At
  readonly seed: string
  readonly planted: readonly Planted[]
  readonly excuses: RegExp
  /** Each begins with a pause of its `pause_ms`. */
  readonly steps: readonly Step[]
  /** Injects a fault, checks that the other processes keep working, and repairs it. @returns what happened, as text */
  readonly strike: (crew: Crew, step: Step) => Promise<string>
  /** Lets go of the log: LMDB allows a process to open it once. */
  readonly release?: () => Promise<void>
  /** Repairs what an aborted step left broken. */
  readonly heal: () => Promise<void> | void
  /** Deletes a topic, as another program could. */
  readonly deleteTopic: (topic: string) => Promise<void>
  /** Strikes when all work is finished and checked. */
  readonly last: MadeAgain
  /** Checks for this kind of log only. @returns breaches */
  readonly audit?: (counts: Record<string, number>) => Promise<readonly string[]>
  /** Called with each line of the report as it happens. */
  readonly report: (line: string) => void
}

export interface DrillResult {
  readonly breaches: readonly string[]
  readonly counts: Readonly<Record<string, number>>
  /** Deaths by place. */
  readonly deaths: Readonly<Record<string, number>>
}

/**
 * Runs producers, three workers, the sink and a reader on one log, and injects the faults of a schedule one after
 * another. At the end all work is finished and the results are checked; then the last fault is injected, and repaired.
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
  await prepareModel(folder.log)
  await folder.close()
  const crew = new Crew({ root, data: at.data, log: at.log, seed, planted, excuses, onBreach: broken })
  // A stopped child cannot notice that this process has ended, so kill all children on exit.
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
      await plumblineOk(at, ['run', '--until-idle', '--policy', POLICY])
      await options.release?.()
      breaches.push(...(await batchesOf(at, planted, counts)))
      // The program knows no such event: `verify` would report its records.
      await options.deleteTopic(estimated.type)
      const checkpoints = crew.checkpoints.filter(({ topic }) => topic !== estimated.type)
      const accounts = await accountsOf(at, ledger, checkpoints)
      Object.assign(counts, accounts.counts)
      breaches.push(...accounts.breaches)
      breaches.push(...((await options.audit?.(counts)) ?? []))
      if (breaches.length === 0) {
        line(`${String(options.steps.length + 1).padStart(3)}. ${tellMadeAgain(options.last)}`)
        const { deleteTopic, last: fault } = options
        breaches.push(...(await makeTopicAgain({ root, at, planted, fault, deleteTopic }, counts)))
      }
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

async function batchesOf(at: At, planted: readonly Planted[], counts: Record<string, number>): Promise<string[]> {
  const folder = await openDataFolder({ data: at.data, ...(at.log ? { log: at.log } : {}) }, { create: false })
  try {
    return await otherBatches(withPlanted(folder, planted), counts)
  } finally {
    await folder.close()
  }
}

/** Runs a drill, prints its report, and returns the report. */
export async function drillReport({
  title,
  again,
  run,
}: {
  readonly title: string
  /** How to repeat the drill. */
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
