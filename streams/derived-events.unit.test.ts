import { expect, test } from 'vitest'
import { rescoreCompletions } from '../processors/rescore-completions/rescore-completions.ts'
import { DERIVED_BY } from '../sinks/duckdb/views/derived.ts'
import { DEFAULTS, topology } from './topology.ts'

test('the views count each derived event of the processor that emits it in this topology', async () => {
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
  const derived = events.filter(({ retention }) => retention === 'derived').map(({ type }) => type)
  const emitted = derived.map((type) => [
    type,
    emitters.find(({ outputs }) => outputs.some((output) => output.type === type))?.name,
  ])
  expect(DERIVED_BY).toEqual(Object.fromEntries(emitted))
})
