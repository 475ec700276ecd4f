import { inputsOf } from '../processors/processor.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { processorsOf } from '../streams/describe.ts'
import { DEFAULTS, topology } from '../streams/topology.ts'

/** Names of the processors that read an event in the default topology, sorted. */
export async function readersOf(type: EventType): Promise<readonly string[]> {
  const processors = processorsOf(await topology(DEFAULTS))
  const readers = processors.filter((processor) => inputsOf(processor).some((input) => input.type === type.type))
  return readers.map(({ name }) => name).sort()
}
