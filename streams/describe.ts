import { createHash } from 'node:crypto'
import { broadcastOf, inputsOf, type Processor } from '../processors/processor.ts'
import { type Partitions, partitionsText } from '../schemas/wire/partitions.ts'
import type { Topology } from './topology.ts'

interface Line {
  readonly kind: 'source' | Processor['shape'] | 'sink'
  readonly name: string
  readonly about: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

function linesOf(topology: Topology): Line[] {
  const names = (types: readonly { readonly type: string }[]) => types.map((type) => type.type)
  return [
    ...topology.sources.map((source) => ({
      kind: 'source' as const,
      name: source.name,
      about: '',
      inputs: [],
      outputs: names(source.outputs),
    })),
    ...processorsOf(topology).map((processor) => ({
      kind: processor.shape,
      name: processor.name,
      about: processor.about,
      inputs: names(inputsOf(processor)),
      outputs: names(processor.outputs),
    })),
    ...topology.sinks.map((sink) => ({
      kind: 'sink' as const,
      name: sink.name,
      about: '',
      inputs: [sink.inputs],
      outputs: [],
    })),
  ]
}

/** The wiring as text that fits a screen, with the fingerprint of this topology. */
export function asText(topology: Topology): string {
  return `${asShape(topology)}, fingerprint ${fingerprintOf(topology).slice(0, 16)}`
}

/** Each node's kind, name, inputs and outputs. Unlike the fingerprint, this stays the same when an event is declared. */
export function asShape(topology: Topology): string {
  const text: string[] = []
  for (const line of linesOf(topology)) {
    text.push(`${line.kind.padEnd(10)}${line.name}${line.about === '' ? '' : `: ${line.about}`}`)
    for (const input of line.inputs) text.push(`            ← ${input}`)
    for (const output of line.outputs) text.push(`            → ${output}`)
  }
  text.push('', `${partitionsText(topology.partitions)} partitions by key (murmur2)`)
  return text.join('\n')
}

/** The same as a Mermaid flow chart. */
export function asMermaid(topology: Topology): string {
  const lines = linesOf(topology)
  const id = (name: string) => name.replaceAll(/[^a-z0-9]/g, '_')
  const events = new Set(lines.flatMap((line) => [...line.inputs, ...line.outputs]))
  const everything = 'every event'
  events.delete(everything)
  const text = ['flowchart LR']
  for (const event of events) text.push(`  ${id(event)}([${event}])`)
  for (const line of lines) {
    text.push(`  ${id(line.name)}${line.kind === 'sink' ? `[(${line.name})]` : `[${line.name}]`}`)
    for (const input of line.inputs) if (input !== everything) text.push(`  ${id(input)} --> ${id(line.name)}`)
    for (const output of line.outputs) text.push(`  ${id(line.name)} --> ${id(output)}`)
    if (line.inputs.includes(everything)) for (const event of events) text.push(`  ${id(event)} -.-> ${id(line.name)}`)
  }
  return text.join('\n')
}

export function asJson(topology: Topology): Record<string, unknown> {
  return { ...identityOf(topology), fingerprint: fingerprintOf(topology), lines: linesOf(topology) }
}

/** What stored state depends on: partition counts, and each processor's inputs and state versions. */
export interface TopologyIdentity {
  readonly partitions: Partitions
  readonly processors: readonly {
    readonly name: string
    readonly inputs: readonly string[]
    readonly state_version: number
    readonly broadcast_version?: number
    readonly broadcast_inputs?: readonly string[]
  }[]
}

export function identityOf(topology: Topology): TopologyIdentity {
  return {
    partitions: topology.partitions,
    processors: processorsOf(topology).map((processor) => {
      const broadcast = broadcastOf(processor)
      return {
        name: processor.name,
        inputs: [...processor.inputs, ...(broadcast?.inputs ?? [])].map((input) => input.type),
        state_version: processor.shape === 'transform' ? 0 : processor.state.version,
        ...(broadcast === undefined
          ? {}
          : { broadcast_version: broadcast.version, broadcast_inputs: broadcast.inputs.map(({ type }) => type) }),
      }
    }),
  }
}

/** SHA-256 over the topology's identity and the event types' versions. */
export function fingerprintOf(topology: Topology): string {
  const versions = topology.events.map((type) => [type.type, type.version])
  return createHash('sha256')
    .update(JSON.stringify([identityOf(topology), versions]))
    .digest('hex')
}

export function processorsOf(topology: Topology): Processor[] {
  return topology.stages.map((stage) => stage.create(stage.variant))
}
