import { expect, test } from 'vitest'
import { DERIVED_BY } from '../sinks/duckdb/views/derived.ts'
import { processorsOf } from './describe.ts'
import { DEFAULTS, topology } from './topology.ts'

test('each derived event that the views count is emitted by the processor that they name', async () => {
  const wiring = await topology(DEFAULTS)
  const emitters = [...processorsOf(wiring), ...wiring.sweeps]
  // Of its own events, an origin names the processors; `topology` checks that.
  for (const [type, processor] of Object.entries(DERIVED_BY)) {
    expect([type, wiring.events.find((event) => event.type === type)?.retention]).toEqual([type, 'derived'])
    const names = emitters
      .filter(({ outputs }) => outputs.some((output) => output.type === type))
      .map(({ name }) => name)
    expect([type, names]).toEqual([type, [processor]])
  }
})
