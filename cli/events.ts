import type { Command } from 'commander'
import { catalogue } from '../schemas/catalogue.ts'
import { duckdbTypeOf } from '../schemas/duckdb-table.ts'
import type { EventType } from '../schemas/event.ts'
import { fingerprintOf } from '../schemas/fingerprint.ts'
import { jsonSchemaOf } from '../schemas/json-schema.ts'
import { globals } from './options.ts'
import { UsageError } from './usage-error.ts'

export function addEvents(program: Command): void {
  program
    .command('events [type]')
    .description('every event that may be said; with a type, its fields; with --json, its JSON Schema')
    .action((name: string | undefined, _options: unknown, command: Command) => {
      const { json } = globals(command)
      if (name === undefined) {
        const rows = catalogue.map(({ type, version, key, encoding, retention, about }) => ({
          type,
          version,
          key,
          encoding,
          retention,
          about,
        }))
        process.stdout.write(json ? `${JSON.stringify(rows)}\n` : catalogueText())
        return
      }
      const type = catalogue.find((candidate) => candidate.type === name)
      if (type === undefined) {
        throw new UsageError(
          `no event is called ${name}`,
          `there are ${catalogue.map((candidate) => candidate.type).join(', ')}`,
        )
      }
      process.stdout.write(json ? `${JSON.stringify(jsonSchemaOf(type), null, 2)}\n` : eventText(type))
    })
}

function catalogueText(): string {
  const width = Math.max(...catalogue.map((type) => type.type.length))
  return catalogue
    .map(
      ({ type, version, key, encoding, about }) =>
        `${type.padEnd(width)}  v${version}  ${encoding.padEnd(5)}  [${key}]  ${about}\n`,
    )
    .join('')
}

function eventText(type: EventType): string {
  const fields = Object.entries(type.row)
  const width = Math.max(...fields.map(([name]) => name.length))
  const kinds = fields.map(([, field]) => `${duckdbTypeOf(field)}${field.nullable ? '?' : ''}`)
  const shorten = (text: string) => (text.length > 40 ? `${text.slice(0, 39)}…` : text)
  const kindWidth = Math.max(...kinds.map((kind) => shorten(kind).length))
  const lines = fields.map(([name, field], index) =>
    `  ${name.padEnd(width)}  ${shorten(kinds[index] ?? '').padEnd(kindWidth)}  ${field.about}`.trimEnd(),
  )
  return [
    `${type.type} v${type.version} (${type.encoding}, key ${type.key}, ${type.retention}, fingerprint ${fingerprintOf(type).slice(0, 16)})`,
    type.about,
    '',
    ...lines,
    '',
  ].join('\n')
}
