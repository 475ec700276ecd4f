import { expect, test } from 'vitest'
import { catalogue } from '../../streams/vocabulary.ts'
import { fingerprintsOf, GOLDEN, recordedFingerprints } from '../conformance/fingerprint-golden.ts'
import { defineEvent, type EventType } from '../declare/event.ts'
import { float64, int32, nullable, oneOf, struct, utf8 } from '../declare/logical-types.ts'
import { dataSchemaUri, fingerprintOf, parseDataSchemaUri } from './fingerprint.ts'

const golden = await recordedFingerprints()

/** Guards logs: a record names the fingerprint of its declaration, and a program with another one rejects it. */
function problemsWith(types: readonly EventType[], recorded: ReadonlyMap<string, string>): string[] {
  const current = fingerprintsOf(types)
  const changed = [...current].flatMap(([version, fingerprint]) => {
    const before = recorded.get(version)
    if (before === fingerprint) return []
    if (before === undefined) return [`${version} is new: npm run goldens adds it to ${GOLDEN}`]
    return [
      `${version} is declared otherwise than the logs that hold it (${before.slice(0, 8)} → ${fingerprint.slice(0, 8)}): ` +
        'raise `version`, and put the row as it was into `earlier` with an upcaster to the new one. ' +
        `Only while no log anywhere holds it may its line in ${GOLDEN} become "${version} ${fingerprint}".`,
    ]
  })
  const gone = [...recorded.keys()].filter((version) => !current.has(version))
  return [...changed, ...gone.map((version) => `${version} cannot be read any more: put its row back into \`earlier\``)]
}

test('every version of every event is declared as the logs hold it', () => {
  expect(problemsWith(catalogue, golden).join('\n')).toBe('')
})

const declared = {
  type: 'test.said',
  version: 1,
  key: 'id',
  encoding: 'json',
  retention: 'derived',
  about: 'once',
  row: { id: utf8(), side: oneOf(['left', 'right']), at: struct({ x: float64(), y: nullable(int32()) }) },
} as const
const emitted = defineEvent(declared)

test('the check of fingerprints names the remedy', () => {
  const recorded = new Map([['test.said/1', fingerprintOf(emitted)]])
  const changed = defineEvent({ ...declared, row: { ...declared.row, side: utf8() } })
  expect(problemsWith([emitted], recorded)).toEqual([])
  expect(problemsWith([changed], recorded)[0]).toContain('raise `version`, and put the row as it was into `earlier`')
  expect(problemsWith([emitted], new Map())[0]).toBe(`test.said/1 is new: npm run goldens adds it to ${GOLDEN}`)
  expect(problemsWith([], recorded)[0]).toContain('cannot be read any more')
})

test('descriptions and order do not change a fingerprint', () => {
  const { id, side, at } = declared.row
  const reworded = defineEvent({
    ...declared,
    about: 'twice',
    retention: 'source',
    row: { at, side, id: utf8('the key') },
  })
  const reordered = defineEvent({ ...declared, row: { id, at, side: oneOf(['right', 'left']) } })
  expect(fingerprintOf(reworded)).toBe(fingerprintOf(emitted))
  expect(fingerprintOf(reordered)).toBe(fingerprintOf(emitted))
})

test.each<[string, EventType]>([
  ['type', defineEvent({ ...declared, type: 'test.told' })],
  ['version', defineEvent({ ...declared, version: 2 })],
  ['encoding', defineEvent({ ...declared, encoding: 'arrow' })],
  ['routing', defineEvent({ ...declared, routing: 'every_partition' })],
  ['nullability', defineEvent({ ...declared, row: { ...declared.row, side: nullable(declared.row.side) } })],
  ['a nested field', defineEvent({ ...declared, row: { ...declared.row, at: struct({ x: float64(), y: int32() }) } })],
  ['a choice', defineEvent({ ...declared, row: { ...declared.row, side: oneOf(['left']) } })],
])('another %s is another fingerprint', (_what, other) => {
  expect(fingerprintOf(other)).not.toBe(fingerprintOf(emitted))
})

test('a data schema URI names type, version and fingerprint', () => {
  const uri = dataSchemaUri(emitted)
  expect(uri).toBe(`plumbline:test.said/1/${fingerprintOf(emitted).slice(0, 16)}`)
  expect(URL.canParse(uri)).toBe(true)
  expect(parseDataSchemaUri(uri)).toEqual({
    type: 'test.said',
    version: 1,
    fingerprint: fingerprintOf(emitted).slice(0, 16),
  })
  expect(parseDataSchemaUri('https://example.org/schema')).toBeUndefined()
})
