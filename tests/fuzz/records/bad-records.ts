import type { Random } from '../../../environments/tower/random.ts'
import type { Header, LogRecord, NewRecord } from '../../../infra/log/port/log.ts'
import { pick } from '../../../testing/pick.ts'

/** A record as a broken or hostile program would append it. */
export interface BadRecord {
  /** How a sound record was changed. */
  readonly kind: string
  readonly partition: number
  readonly record: NewRecord
}

type Change = (sound: LogRecord, random: Random, partitions: number) => Partial<NewRecord & { partition: number }>

/** A random index; 0 when there are no elements. */
const placeIn = (random: Random, { length }: { readonly length: number }) => random.integer(0, Math.max(0, length - 1))

const TEXTS = [
  '',
  ' ',
  '0',
  '-1',
  'null',
  'NaN',
  '1e999',
  '__proto__',
  '9'.repeat(400),
  'x'.repeat(100_000),
  '\u0000\u001b[2J\u0007',
  'ä\u{1f600}\u202e',
  '2026-02-30T00:00:00.000Z',
  '9999-12-31T23:59:59.999Z',
  'application/json',
  'application/vnd.apache.arrow.stream',
  'plumbline:rollout.requested/1/0',
  'a,b',
  'b,a',
  '[]',
  '[{"sha256":"x"}]',
  `[{"sha256":"${'a'.repeat(64)}","bytes":9007199254740991,"media_type":"a/b"}]`,
]

/** As JSON. */
const VALUES = [
  'null',
  'true',
  '-1',
  '0',
  '1e308',
  '1e999',
  '2147483648',
  '-2147483649',
  '9007199254740993',
  '0.1',
  '""',
  '"\\u0000"',
  '"\\ud800"',
  '"9999-12-31T23:59:59.999Z"',
  '[]',
  '{}',
  '{"__proto__":{"a":1}}',
  '[[[[[[[[[[]]]]]]]]]]',
]

const JSON_RUBBISH = [
  '',
  '{',
  'null',
  '[]',
  '{}',
  '"text"',
  '{"a":1}',
  '{"a":1,"a":2}',
  '\ufeff{}',
  '['.repeat(100_000),
  `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`,
  `[${'0,'.repeat(50_000)}0]`,
]

const HEADER_CHANGES: Readonly<Record<string, Change>> = {
  'header left out': ({ headers }, random) => {
    const out = placeIn(random, headers)
    return { headers: headers.filter((_, at) => at !== out) }
  },
  'header twice': ({ headers }, random) => ({
    headers: [...headers, ...headers.slice(placeIn(random, headers)).slice(0, 1)],
  }),
  'no headers': () => ({ headers: [] }),
  'header of rubbish': ({ headers }, random) => changed(headers, random, () => pick(random, TEXTS)),
  'header with a changed character': ({ headers }, random) =>
    changed(headers, random, (value) => {
      const at = random.integer(0, value.length)
      return value.slice(0, at) + String.fromCharCode(random.integer(0, 0xd7ff)) + value.slice(at + 1)
    }),
  'blobs that are nowhere': ({ headers }, random) => ({
    headers: [
      ...headers.filter(({ name }) => name !== 'plumbline_blobs'),
      { name: 'plumbline_blobs', value: pick(random, TEXTS) },
    ],
  }),
  'many headers': ({ headers }, random) => ({
    headers: [...headers, ...Array.from({ length: random.integer(100, 20_000) }, (_, at) => header(`more_${at}`, ''))],
  }),
  'names of rubbish': ({ headers }, random) => ({
    headers: [
      ...headers.slice(1),
      ...Array.from({ length: random.integer(1, 5) }, () => header(pick(random, TEXTS), 'x')),
    ],
  }),
}

const PLACE_CHANGES: Readonly<Record<string, Change>> = {
  'no key': () => ({ key: null }),
  'key of rubbish': (_, random) => ({ key: pick(random, TEXTS) }),
  'partition of another key': ({ partition }, random, partitions) => ({
    partition: (partition + random.integer(1, Math.max(1, partitions - 1))) % partitions,
  }),
}

const VALUE_CHANGES: Readonly<Record<string, Change>> = {
  tombstone: () => ({ value: null }),
  'no bytes': () => ({ value: Buffer.alloc(0) }),
  'cut off': ({ value }, random) => ({
    value: bytesOf(value).subarray(0, placeIn(random, bytesOf(value))),
  }),
  'flipped bits': ({ value }, random) => {
    const bytes = Buffer.from(bytesOf(value))
    for (let flips = random.integer(1, 8); flips > 0; flips -= 1) {
      const at = placeIn(random, bytes)
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integer(0, 7))
    }
    return { value: bytes }
  },
  'a large number in its bytes': ({ value }, random) => {
    const bytes = Buffer.from(bytesOf(value))
    if (bytes.length >= 8) {
      const at = random.integer(0, Math.floor((bytes.length - 8) / 4)) * 4
      bytes.writeUInt32LE(pick(random, [0x7fffffff, 0xffffffff, 0x10000000, 0]), at)
    }
    return { value: bytes }
  },
  'zeroed part': ({ value }, random) => {
    const bytes = Buffer.from(bytesOf(value))
    const from = placeIn(random, bytes)
    return { value: bytes.fill(0, from, Math.min(bytes.length, from + random.integer(1, 64))) }
  },
  'random bytes': (_, random) => ({
    value: Buffer.from(Array.from({ length: random.integer(1, 2_000) }, () => random.integer(0, 255))),
  }),
  'other JSON': (_, random) => ({ value: Buffer.from(pick(random, JSON_RUBBISH)) }),
  'a field of rubbish': ({ value }, random) => ({ value: Buffer.from(rubbishIn(bytesOf(value).toString(), random)) }),
  'said twice in one value': ({ value }) => ({ value: Buffer.concat([bytesOf(value), bytesOf(value)]) }),
}

const CHANGES = Object.entries({ ...HEADER_CHANGES, ...PLACE_CHANGES, ...VALUE_CHANGES })

/** A sound record with one or two changes. It may still be sound. */
export function badRecord(sound: LogRecord, partitions: number, random: Random): BadRecord {
  const kinds: string[] = []
  let { partition } = sound
  let record: LogRecord = sound
  for (let changes = random.uniform() < 0.8 ? 1 : 2; changes > 0; changes -= 1) {
    const [kind, change] = pick(random, CHANGES)
    const { partition: moved = partition, ...rest } = change(record, random, partitions)
    kinds.push(kind)
    partition = moved
    record = { ...record, ...rest }
  }
  const { key, headers, value } = record
  return { kind: kinds.join(', '), partition, record: { key, headers, value } }
}

const header = (name: string, value: string): Header => ({ name, value })
const bytesOf = (value: Uint8Array | null) => Buffer.from(value ?? [0])

function changed(headers: readonly Header[], random: Random, change: (value: string) => string) {
  const which = placeIn(random, headers)
  return { headers: headers.map((one, at) => (at === which ? { ...one, value: change(one.value) } : one)) }
}

/** JSON in which one value, at any depth, is replaced or removed, or gets another field next to it. */
function rubbishIn(json: string, random: Random): string {
  const values = [...json.matchAll(/"\w+":("(?:[^"\\]|\\.)*"|-?[\d.e+-]+|true|false|null|\[\]|[[{])/g)]
  if (values.length === 0) return pick(random, JSON_RUBBISH)
  const found = pick(random, values)
  const [all, value = ''] = found
  const before = json.slice(0, found.index)
  const after = json.slice(found.index + all.length)
  const name = all.slice(0, all.length - value.length)
  if (value === '[' || value === '{') return `${before}${name}${pick(random, VALUES)},"x":${value}${after}`
  const instead = pick(random, [
    pick(random, VALUES),
    pick(random, VALUES),
    JSON.stringify(pick(random, TEXTS)),
    `${value},"x":1`,
  ])
  return random.uniform() < 0.1 ? `${before}"gone":0${after}` : `${before}${name}${instead}${after}`
}
