import type { Command } from 'commander'
import { type VerifyReport, verifiable, verifyStage } from '../infra/runtime/verify.ts'
import { catalogueOf } from '../schemas/registry.ts'
import type { Topology } from '../streams/topology.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { globals } from './options.ts'
import { prepareLog, wiringOf } from './pipeline.ts'
import { number, Progress } from './progress.ts'

export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('compute every derived event again and compare it with the log; names the first difference')
    .action(async (_options: unknown, command: Command) => {
      const global = globals(command)
      const folder = await openDataFolder(global, { create: false })
      try {
        const passed = await verifyFolder(folder, await wiringOf({}), global.json)
        if (!passed) process.exitCode = 1
      } finally {
        await folder.close()
      }
    })
}

/** Verifies every derived stream of a folder and prints what it found. */
export async function verifyFolder(folder: DataFolder, wiring: Topology, json: boolean): Promise<boolean> {
  const { passed, reports } = await verifyStages(folder, wiring, { silent: json })
  const nothing = reports.every((report) => report.rebuilt + report.recorded === 0)
  if (json) process.stdout.write(`${JSON.stringify({ passed, reports })}\n`)
  else if (nothing) process.stdout.write(`verify: passed, but nothing has been computed yet: ${COMPUTE}\n`)
  else process.stdout.write(passed ? 'verify: passed\n' : 'verify: FAILED\n')
  return passed
}

const COMPUTE = './plumbline run --until-idle'

/** Verifies every derived stream of a folder, telling on standard error how it goes. */
export async function verifyStages(
  folder: DataFolder,
  wiring: Topology,
  { silent }: { readonly silent: boolean },
): Promise<{ readonly passed: boolean; readonly reports: readonly VerifyReport[] }> {
  const vocabulary = catalogueOf(wiring.events)
  await prepareLog(folder, wiring)
  const reports: VerifyReport[] = []
  for (const stage of verifiable(wiring.stages)) {
    const progress = new Progress(`verify ${stage.name}`, { silent })
    const report = await verifyStage(stage, {
      log: folder.log,
      blobs: folder.blobs,
      vocabulary,
      partitions: wiring.partitions,
      onProgress: (rebuilt) => progress.at(rebuilt),
    })
    reports.push(report)
    const { rebuilt, equal, recorded, differences, first } = report
    progress.done(
      differences === 0
        ? `${number(rebuilt)} events computed again, all equal to the ${number(recorded)} recorded`
        : `${number(differences)} DIFFERENCES; ${number(equal)} of ${number(rebuilt)} computed again are equal`,
    )
    if (first !== undefined && !silent) {
      process.stderr.write(
        `  first: ${first.kind} at ${first.where}, ce_id ${first.ce_id}\n         ${first.message}\n`,
      )
    }
  }
  return { passed: reports.every((report) => report.differences === 0), reports }
}
