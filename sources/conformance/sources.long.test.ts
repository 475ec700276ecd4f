import { expect, test } from 'vitest'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { sourceConformance } from './conformance.ts'
import { DRIVERS } from './drivers.ts'

for (const driver of DRIVERS) sourceConformance(driver)

test('every source of the topology has a driver here', async () => {
  const wirings = [await topology(DEFAULTS), await topology({ ...DEFAULTS, policy: 'recorded(any.jsonl)' })]
  const names = new Set(wirings.flatMap(({ sources }) => sources.map(({ name }) => name)))
  expect(DRIVERS.map(({ name }) => name)).toEqual(expect.arrayContaining([...names]))
})
