import type { Command } from 'commander'
import type { VerifyReport } from '../infra/runtime/comparison.ts'
import { type VerifyOptions, verifiable, verifyStage } from '../infra/runtime/verify.ts'
import { verifySweep } from '../infra/runtime/verify-sweep.ts'
import { rescoreCompletions } from '../processors/rescore-completions/rescore-completions.ts'
import type { Event } from '../schemas/event.ts'
import { catalogueOf } from '../schemas/registry.ts'
import type { completionsRescored } from '../schemas/reward.ts'
import type { Topology } from '../streams/topology.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { globals } from './options.ts'
import { prepareLog, wiringOn } from './pipeline.ts'
import { number, Progress } from './progress.ts'
import { loadRecordedReward, type RecordedReward, recordedRewards } from './recorded-rewards.ts'

export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('compute every derived event again and compare it with the log; names the first difference')
    .option('--rescored', 'also the rows of rescore: runs the reward functions whose code lies in the log', false)
    .action(async ({ rescored }: { rescored: boolean }, command: Command) => {
      const global = globals(command)
      const folder = await openDataFolder(global, { create: false })
      try {
        const passed = await verifyFolder(folder, await wiringOn(folder, global), { json: global.json, rescored })
        if (!passed) process.exitCode = 1
      } finally {
        await folder.close()
      }
    })
}

/** Verifies every derived stream of a folder and prints what it found. */
export async function verifyFolder(
  folder: DataFolder,
  wiring: Topology,
  { json, rescored = false }: { readonly json: boolean; readonly rescored?: boolean },
): Promise<boolean> {
  const stages = await verifyStages(folder, wiring, { silent: json })
  const rewards = await recordedRewards(folder)
  const reports = [...stages.reports]
  if (rescored)
    for (const reward of rewards) reports.push(await verifyRescored(folder, wiring, reward, { silent: json }))
  const left_out = rescored ? [] : rewards.map(({ reward_name }) => reward_name)
  const passed = reports.every((report) => report.differences === 0)
  const nothing = reports.every((report) => report.rebuilt + report.recorded === 0)
  if (left_out.length > 0 && !json) {
    process.stderr.write(
      `verify: left out, rescored as ${left_out.join(', ')}: the code lies in the log, verify --rescored runs it\n`,
    )
  }
  if (json) process.stdout.write(`${JSON.stringify({ passed, reports, left_out })}\n`)
  else if (nothing) process.stdout.write(`verify: passed, but nothing has been computed yet: ${COMPUTE}\n`)
  else process.stdout.write(`${verdictOf(passed, reports)}\n`)
  return passed
}

const COMPUTE = './plumbline run --until-idle'

function verdictOf(passed: boolean, reports: readonly VerifyReport[]): string {
  if (!passed) return 'verify: FAILED'
  const unverifiable = reports.filter((report) => report.unverifiable !== undefined)
  if (unverifiable.length === 0) return 'verify: passed'
  return `verify: passed as far as it can be computed again; unverifiable: ${unverifiable.map(({ processor }) => processor).join(', ')}`
}

/** Verifies every derived stream of a folder, telling on standard error how it goes. */
export async function verifyStages(
  folder: DataFolder,
  wiring: Topology,
  { silent }: { readonly silent: boolean },
): Promise<{ readonly passed: boolean; readonly reports: readonly VerifyReport[] }> {
  await prepareLog(folder, wiring)
  const reports: VerifyReport[] = []
  for (const stage of verifiable(wiring.stages)) {
    reports.push(
      await telling(stage.name, silent, (progress) => verifyStage(stage, optionsOf(folder, wiring, progress))),
    )
  }
  return { passed: reports.every((report) => report.differences === 0), reports }
}

/** Computes the rows of a recorded reward again, by the code that lies in the log beside them. */
async function verifyRescored(
  folder: DataFolder,
  wiring: Topology,
  recorded: RecordedReward,
  { silent }: { readonly silent: boolean },
): Promise<VerifyReport> {
  const { reward_name } = recorded
  const transform = rescoreCompletions(await loadRecordedReward(recorded))
  const name = `${transform.name} ${reward_name}`
  const wanted = (event: Event) => (event as Event<typeof completionsRescored>).data[0]?.reward_name === reward_name
  return telling(name, silent, (progress) =>
    verifySweep({ transform, group: `rescore/${reward_name}`, name, wanted }, optionsOf(folder, wiring, progress)),
  )
}

function optionsOf({ log, blobs }: DataFolder, { events, partitions }: Topology, progress: Progress): VerifyOptions {
  const onProgress = (rebuilt: number) => progress.at(rebuilt)
  return { log, blobs, vocabulary: catalogueOf(events), partitions, onProgress }
}

async function telling(
  name: string,
  silent: boolean,
  verify: (progress: Progress) => Promise<VerifyReport>,
): Promise<VerifyReport> {
  const progress = new Progress(`verify ${name}`, { silent })
  const report = await verify(progress)
  const { rebuilt, equal, recorded, differences, first, unverifiable } = report
  progress.done(
    differences === 0 && unverifiable !== undefined
      ? `${number(equal)} events computed again, all equal; the rest of the ${number(recorded)} recorded cannot be`
      : differences === 0
        ? `${number(rebuilt)} events computed again, all equal to the ${number(recorded)} recorded`
        : `${number(differences)} DIFFERENCES; ${number(equal)} of ${number(rebuilt)} computed again are equal`,
  )
  if (!silent) for (const why of unverifiable ?? []) process.stderr.write(`  unverifiable: ${why}\n`)
  if (first !== undefined && !silent) {
    process.stderr.write(`  first: ${first.kind} at ${first.where}, ce_id ${first.ce_id}\n         ${first.message}\n`)
  }
  return report
}
