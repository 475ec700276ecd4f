import { claimTopology, partitionsIn, topicsOf } from '../infra/runtime/state/topics.ts'
import { type Partitions, partitionsText } from '../schemas/wire/partitions.ts'
import { fingerprintOf, identityOf, processorsOf } from '../streams/describe.ts'
import type { TopologyOptions } from '../streams/domain.ts'
import { DEFAULTS, type Topology, topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import { UsageError } from './usage-error.ts'

/** Builds the topology of these options. @throws UsageError when they do not give one. */
export async function wiringOf(options: Partial<TopologyOptions>): Promise<Topology> {
  try {
    return await topology({ ...DEFAULTS, ...options })
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, 'see ./plumbline help run')
    throw error
  }
}

/**
 * The same for a log, whose existing topics fix the partition counts.
 * @throws UsageError when `--partitions` differs from them.
 */
export async function wiringOn(
  { log }: Pick<DataFolder, 'log'>,
  { partitions: asked }: { readonly partitions?: Partitions | undefined },
  options: Partial<TopologyOptions> = {},
): Promise<Topology> {
  const there = await partitionsIn(log, (await wiringOf({})).events)
  const partitions = asked ?? there ?? DEFAULTS.partitions
  if (there !== undefined && partitionsText(there) !== partitionsText(partitions)) {
    throw new UsageError(
      `--partitions ${partitionsText(partitions)}: ${log.address} was made with ${partitionsText(there)}, and that count decided where keys are stored`,
      `leave it out; or bring the sources into another place: ./plumbline replay --sources-only --partitions ${partitionsText(partitions)} --to DIR`,
    )
  }
  return await wiringOf({ ...options, partitions })
}

/** Creates the topics that a topology needs, and rejects a log whose state this topology cannot resume. */
export async function prepareLog(folder: DataFolder, topology: Topology): Promise<void> {
  if (folder.read_only) return
  await folder.log.createTopics(topicsOf(topology.events, processorsOf(topology), topology.partitions))
  await claimTopology(folder.log, { ...identityOf(topology), fingerprint: fingerprintOf(topology) })
}
