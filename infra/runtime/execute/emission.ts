import { type Cause, causeOf, type Emit, type Processor } from '../../../processors/processor.ts'
import type { Event, EventType } from '../../../schemas/declare/event.ts'
import { type EncodedEvent, encodeEvent } from '../../../schemas/wire/codec.ts'
import { derivedId } from '../../../schemas/wire/identity.ts'
import { factSourceOf, sourceOf } from '../../ce-source.ts'

/** An event that a processor emitted, with its identity, ready to be appended. */
export interface Output {
  readonly type: EventType
  readonly event: Event
  readonly encoded: EncodedEvent
}

/**
 * The `emit` function for one call of a processor, and the outputs it collects. Apart from the data and options that
 * the processor passes, an output follows from its causes, so a rebuild emits the same event.
 *
 * @throws Error from `emit` when the type is not declared as an output, no cause is named, or the data is invalid.
 */
export function emission(processor: Processor, inputs: readonly Event[]): { emit: Emit; outputs: Output[] } {
  const outputs: Output[] = []
  // Created on first use: most calls of a fold emit nothing, and nearly all others one event.
  let emitted: Map<string, number> | undefined
  const emit: Emit = (type, data, options = {}) => {
    if (!processor.outputs.some((output) => output.type === type.type)) {
      throw new Error(`${processor.name} emitted ${type.type}, which it does not declare as an output`)
    }
    const causes = options.causes ?? (inputs.length === 1 ? inputs.map(causeOf) : [])
    const latest = latestOf(causes)
    if (latest === undefined) {
      throw new Error(
        `${processor.name} emitted ${type.type} without causes: a batch or a tick is never a cause, name them`,
      )
    }
    const ids = [...new Set(causes.map((cause) => cause.id))].sort()
    const discriminator = options.discriminator ?? ''
    // No id holds a comma.
    const slot = `${type.type},${ids.length},${ids.join(',')},${discriminator}`
    emitted ??= new Map()
    const index = emitted.get(slot) ?? 0
    emitted.set(slot, index + 1)
    const correlation = causes.find((cause) => cause.correlation !== undefined)?.correlation
    const first: unknown = Array.isArray(data) ? data[0] : data
    const event = {
      id: derivedId({
        processor: processor.name,
        variant: processor.variant,
        type: type.type,
        causes: ids,
        discriminator,
        index,
      }),
      source: processor.produces === 'facts' ? factSourceOf(processor.name) : sourceOf(processor.name),
      type: type.type,
      version: type.version,
      time: options.recorded_at ?? latest.time,
      clock: options.recorded_at !== undefined || causes.some(({ clock }) => clock === 'wall') ? 'wall' : 'virtual',
      key: String((first as Record<string, unknown> | undefined)?.[type.key]),
      causes: ids,
      producer_version: String(processor.version),
      data,
      ...(correlation === undefined ? {} : { correlation }),
      ...(options.model_hash === undefined ? {} : { model_hash: options.model_hash }),
      // A rebuild must be able to emit again what an earlier release derived from events it accepted.
      ...(causes.every((cause) => cause.obeys_rules) ? {} : { before_rules: true as const }),
    } satisfies Event<EventType> as Event
    outputs.push({ type, event, encoded: encodeEvent(type, event) })
  }
  return { emit, outputs }
}

function latestOf(causes: readonly Cause[]): Cause | undefined {
  let latest: Cause | undefined
  for (const cause of causes) if (latest === undefined || cause.time > latest.time) latest = cause
  return latest
}
