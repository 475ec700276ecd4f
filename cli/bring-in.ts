import { type DataFolder, openDataFolder } from '../pipeline/data-folder.ts'
import { number } from '../pipeline/text/number.ts'
import { prepareLog, wiringOn } from '../pipeline/wiring.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import type { Pace } from '../sources/pace.ts'
import { runSource } from '../sources/run-source.ts'
import type { Source } from '../sources/source.ts'
import { type GlobalOptions, stopSignal } from './options.ts'
import { Progress } from './progress.ts'

/** What a pace may look at. */
export interface PaceOn {
  readonly folder: DataFolder
  readonly partitions: Partitions
  readonly report: (message: string) => void
}

interface BroughtIn {
  /** What the progress line is about. */
  readonly label: string
  /** What a step of the source is, in the plural. */
  readonly unit: string
  readonly source: (folder: DataFolder) => Source
  /** Default: as fast as the log takes it. */
  readonly pace?: (on: PaceOn) => Pace
  /** Whether it outlives a log, blobs or a disk that fails for a while; a source that ends lets its command fail. */
  readonly endures?: boolean
}

/** What a command that runs a source does: opens its data folder, runs the source to its end or until stopped, reports. */
export async function bringIn(global: GlobalOptions, brought: BroughtIn): Promise<void> {
  const folder = await openDataFolder(global, { create: true })
  try {
    const wiring = await wiringOn(folder, global)
    await prepareLog(folder, wiring)
    const how = { silent: global.json, signal: stopSignal(), partitions: wiring.partitions }
    const result = await runInto(folder, brought, how)
    if (global.json) process.stdout.write(`${JSON.stringify(result)}\n`)
  } finally {
    await folder.close()
  }
}

/** Runs a source to its end or until stopped, and reports progress. */
export async function runInto(
  folder: DataFolder,
  { label, unit, source, pace, endures }: BroughtIn,
  how: { readonly silent: boolean; readonly signal: AbortSignal; readonly partitions: Partitions },
): ReturnType<typeof runSource> {
  const { silent, signal, partitions } = how
  const progress = new Progress(label, { silent })
  const { log, blobs } = folder
  const report = (message: string) => progress.say(message)
  const result = await runSource(source(folder), {
    ...{ log, blobs, partitions, signal },
    ...(pace === undefined ? {} : { pace: pace({ folder, partitions, report }) }),
    ...(endures ? { report } : {}),
    onProgress: (done, steps) => progress.at(done, Number.isFinite(steps) ? steps : undefined),
  })
  const before = result.already > 0 ? `, ${number(result.already)} were there already` : ''
  progress.done(`${number(result.done)} ${unit}${before}`)
  return result
}
