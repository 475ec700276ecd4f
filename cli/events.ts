import type { Command } from 'commander'
import { UsageError } from '../pipeline/usage-error.ts'
import { jsonSchemaOf } from '../schemas/derive/json-schema.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { catalogueText, eventText } from './event-text.ts'
import { globals } from './options.ts'

export function addEvents(command: Command): void {
  command.action((name: string | undefined) => {
    const { json } = globals(command)
    if (name === undefined) {
      const summary = catalogue.map(({ row: _row, earlier: _earlier, ...type }) => type)
      process.stdout.write(json ? `${JSON.stringify(summary)}\n` : catalogueText(catalogue))
      return
    }
    const type = catalogue.find((candidate) => candidate.type === name)
    if (type === undefined) {
      const known = catalogue.map((candidate) => candidate.type).join(', ')
      throw new UsageError(`no event is called ${name}`, `there are ${known}`)
    }
    process.stdout.write(json ? `${JSON.stringify(jsonSchemaOf(type), null, 2)}\n` : eventText(type))
  })
}
