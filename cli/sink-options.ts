import type { Command } from 'commander'
import type { SinkPlaces } from '../pipeline/sinks.ts'
import { SINK_KINDS } from '../sinks/kinds.ts'
import type { SinkKind } from '../sinks/sink-kind.ts'

/** Adds the option of each kind of sink: `--jsonl <dir>`. */
export function withSinkOptions(command: Command, about: (kind: SinkKind) => string): Command {
  for (const kind of SINK_KINDS) {
    command.option(`--${kind.name} <${kind.place === 'folder' ? 'dir' : 'file'}>`, about(kind))
  }
  return command
}

/** Of the commands that show positions. */
export const ofRun = ({ name, place }: SinkKind) => `with the sink of run --${name} that writes to this ${place}`

/** The places that the options of a command name. */
export function placesIn(options: object): SinkPlaces {
  const names: readonly string[] = SINK_KINDS.map(({ name }) => name)
  return Object.fromEntries(Object.entries(options).filter(([name]) => names.includes(name)))
}
