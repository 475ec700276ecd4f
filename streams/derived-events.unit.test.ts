import { expect, test } from 'vitest'
import { rescoreCompletions } from '../processors/rescore-completions/rescore-completions.ts'
import { DERIVED_BY } from '../sinks/duckdb/views/derived.ts'
import { DEFAULTS, topology } from './topology.ts'

test('each derived event that the views count is emitted by the processor that they name', async () => {
  const { stages, events } = await topology(DEFAULTS)
  const rescore = rescoreCompletions({
    name: 'mine',
    version: 1,
    dialect: 'paper',
    where: 'mine.ts',
    source_sha256: 'a'.repeat(64),
    evaluate: () => [],
  })
  const emitters = [...stages.map((stage) => stage.create(stage.variant)), rescore]
  for (const [type, processor] of Object.entries(DERIVED_BY)) {
    expect([type, events.find((event) => event.type === type)?.retention]).toEqual([type, 'derived'])
    const names = emitters
      .filter(({ outputs }) => outputs.some((output) => output.type === type))
      .map(({ name }) => name)
    expect([type, names]).toEqual([type, [processor]])
  }
})
