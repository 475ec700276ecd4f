import { Field as ArrowField, Int32, Message, Null, RecordBatchReader, Schema, tableFromIPC, Utf8 } from 'apache-arrow'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { columnOf, writeTexts } from './arrow-columns.ts'
import { framed } from './arrow-frame.ts'
import { readStream, writeStream } from './arrow-stream.ts'
import { SchemaMessage } from './schema-message.ts'

const KEY = 'test.described'
const schemaWith = (flow: string, mask: string) =>
  new Schema(
    [
      new ArrowField('clip', new Utf8(), false),
      new ArrowField('flow', new Null(), true, new Map([[KEY, flow]])),
      new ArrowField('frame', new Int32(), false, new Map([['other', 'text']])),
      new ArrowField(
        'mask',
        new Null(),
        true,
        new Map([
          ['other', 'text'],
          [KEY, mask],
        ]),
      ),
    ],
    new Map([['schema', 'of clips']]),
  )
const message = new SchemaMessage(schemaWith('', ''), KEY)
const columns = [
  columnOf(new Utf8(), 2, writeTexts(['one', 'two'])),
  columnOf(new Null(), 2, {}, 2),
  columnOf(new Int32(), 2, { values: Int32Array.of(7, 8) }),
  columnOf(new Null(), 2, {}, 2),
]
const stream = (...texts: string[]) => writeStream(message, columns, 2, texts)
const textsIn = ({ fields }: Schema) => fields.flatMap(({ metadata }) => metadata.get(KEY) ?? [])
// apache-arrow drops a byte order mark at the beginning of a text.
const arrowText = fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed() && !text.startsWith('\ufeff'))

test('apache-arrow reads whatever texts were written, and everything around them', () => {
  fc.assert(
    fc.property(arrowText, arrowText, (flow, mask) => {
      const table = tableFromIPC(stream(flow, mask))
      expect(textsIn(table.schema)).toEqual([flow, mask])
      expect(table.schema.metadata).toEqual(new Map([['schema', 'of clips']]))
      expect(table.schema.fields.map(({ name, type }) => `${name} ${type}`)).toEqual([
        'clip Utf8',
        'flow Null',
        'frame Int32',
        'mask Null',
      ])
      expect(table.toArray().map((row) => ({ ...row }))).toEqual([
        { clip: 'one', flow: null, frame: 7, mask: null },
        { clip: 'two', flow: null, frame: 8, mask: null },
      ])
    }),
  )
})

test('a stream of the message is recognised with its texts, one of another layout is parsed', () => {
  const bytes = stream('flow é', 'mask')
  const known = readStream(bytes, [new SchemaMessage(schemaWith('', '').select(['clip'])), message])
  expect(known.expected).toMatchObject({ message, texts: ['flow é', 'mask'] })
  expect(known.schema).toBe(message.schema)
  expect(Buffer.compare(stream('flow é', 'mask'), bytes)).toBe(0)

  // As apache-arrow and earlier releases write it: each text where its field is.
  const head = framed(Message.encode(Message.from(schemaWith('flow é', 'mask'))))
  const body = bytes.subarray(message.write(['flow é', 'mask']).length)
  const other = readStream(Buffer.concat([head, body]), [message])
  expect(other.expected).toBeUndefined()
  expect(textsIn(other.schema)).toEqual(['flow é', 'mask'])
  expect(other.batches()).toEqual(known.batches())
})

test('whatever bits flip, a message that is recognised is read as apache-arrow parses it', () => {
  const good = message.write(['{"bytes":2097152}', '{"bytes":65536}'])
  let recognised = 0
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(), (at, flip, cut) => {
      const bytes = Uint8Array.from(good).subarray(0, cut % 5 === 0 ? at : good.length)
      if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ flip
      const found = message.read(bytes)
      if (found === undefined) return
      recognised++
      expect(found.end).toBe(bytes.length)
      expect(found.texts).toEqual(textsIn(RecordBatchReader.from(bytes).open().schema))
    }),
    { numRuns: 3000 },
  )
  expect(recognised).toBeGreaterThan(10)
})

test('a text that claims more bytes than its message has is not looked for outside of it', () => {
  const bytes = Buffer.from(message.write(['a', 'b']))
  const behind = Buffer.concat([bytes, Buffer.alloc(64)])
  const second = bytes.indexOf('b', bytes.length - 16) - 4
  for (const size of [2, 7, 40, 2 ** 31, 2 ** 32 - 1]) {
    behind.writeUInt32LE(size, second)
    const found = message.read(behind)
    if (found !== undefined) expect(found.end).toBe(bytes.length)
    if (size > 7) expect(found).toBeUndefined()
  }
})
