import { constants } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { appendFile, mkdir, open, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import type { Event } from '../schemas/declare/event.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { decodeEvent } from '../schemas/wire/codec.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'
import { recordsOf } from '../tests/cli/whole-log.ts'
import { FileError } from './plain-file.ts'
import { recordedCompletions } from './recorded-completions.ts'
import { runSource } from './run-source.ts'
import { inSteps } from './source.ts'

const line = (more: object = {}) =>
  JSON.stringify({ group_id: 'g', completion_index: 0, text: '<answer>1</answer>', ...more })
const GOOD = line()
const at = (index: number, more: object = {}) => line({ completion_index: index, ...more })

/** Invalid files and the error for each, which begins with file name and line. */
const REFUSED: readonly (readonly [what: string, content: string | Buffer, message: string])[] = [
  ['a number of the wrong type in a later group', `${GOOD}\n${line({ group_id: 'h', top_k: 1.5 })}\n`, ':2: top_k: '],
  [
    'a value that the schema refuses',
    `${GOOD}\n${at(1, { token_ids: [1, -1] })}\n`,
    ':2: token_ids[1]: expected an integer of 32 bits, 0 or more, got -1',
  ],
  [
    'an index past the largest group',
    `${GOOD}\n\n${at(4096)}`,
    ':3: completion_index: expected an integer of 32 bits, 0 … 4095, got 4096',
  ],
  [
    'an index as text',
    line({ completion_index: '0' }),
    ':1: completion_index: Invalid input: expected number, received string, got "0"',
  ],
  [
    'half a surrogate pair',
    `${GOOD}\n${at(1).replace('<answer>', '\\ud800')}`,
    ':2: text: expected a text of whole Unicode characters',
  ],
  [
    'the same index twice',
    [GOOD, at(1), at(0, { text: 'second' })].join('\n'),
    ':3: completion_index: expected each once in a row of lines of one group, got 0, which line 1 has for group "g"',
  ],
  ['no group', '{"completion_index": 0, "text": ""}', ':1: group_id: '],
  ['an empty group', line({ group_id: '' }), ':1: group_id: '],
  [
    'a key twice',
    `${GOOD}\n{"group_id": "g", "completion_index": 1, "text": "a", "text": "b"}`,
    ':2: expected each key once, got "text" twice',
  ],
  [
    'a key twice, once escaped',
    '{"group_id": "g", "completion_index": 1, "te\\u0078t": "a", "text": "b"}',
    ':1: expected each key once, got "text" twice',
  ],
  ['a key named __proto__', '{"group_id": "g", "completion_index": 1, "text": "a", "__proto__": {}}', ':1: '],
  [
    'invalid UTF-8',
    Buffer.concat([
      Buffer.from(`${GOOD}\n`),
      Buffer.from(at(1, { text: 'Ω\ufffd!' }).replace('!', '\x01'), 'utf8').map((byte) => (byte === 1 ? 0xff : byte)),
    ]),
    ':2: expected UTF-8, got another byte at column 48',
  ],
  ['UTF-16', Buffer.from(`\ufeff${GOOD}`, 'utf16le'), ':1: expected UTF-8, got UTF-16'],
  ['a NUL', `${GOOD}\n\0`, ':2: expected a JSON object, got \0'],
  ['a list', `${GOOD}\n[1]`, ':2: expected a JSON object, got [1]'],
  ['an infinite number', `${GOOD}\n${at(1).replace('"text"', '"latency_ms": 1e999, "text"')}`, ':2: latency_ms: '],
  ['a second byte order mark', `\ufeff${GOOD}\n\ufeff${at(1)}`, ':2: expected a JSON object'],
  [
    'an event that is too large',
    [0, 1, 2].map((index) => at(index, { text: 'x'.repeat(200_000) })).join('\n'),
    ':1–3: policy.completions_sampled v1 ',
  ],
  ['a time that no calendar has', `${GOOD}\n${at(1, { time: '2026-02-30T00:00:00Z' })}`, ':2: time: '],
  ['the year 0', line({ time: '0000-01-01T00:00:00Z' }), ':1: '],
]

async function write(content: string | Buffer, name = 'recorded.jsonl'): Promise<string> {
  const file = join(await temporaryFolder(), name)
  await writeFile(file, content)
  return file
}

async function refusalOf(file: string): Promise<FileError> {
  const error = await recordedCompletions(`recorded(${file})`).then(
    () => undefined,
    (refusal: unknown) => refusal,
  )
  expect(error).toBeInstanceOf(FileError)
  return error as FileError
}

test.each(REFUSED)('%s is refused with file and line before anything is appended', async (_what, content, message) => {
  const file = await write(content)
  const { message: reason, remedy } = await refusalOf(file)
  expect(reason).toContain(`${file}${message}`)
  expect(remedy).toContain('nothing was brought in')
})

test('a folder, a pipe and a device are refused at once', async () => {
  const folder = await temporaryFolder()
  execFileSync('mkfifo', [join(folder, 'pipe')])
  await mkdir(join(folder, 'folder'))
  expect((await refusalOf(join(folder, 'folder'))).message).toContain('expected a file, got a folder')
  expect((await refusalOf(join(folder, 'pipe'))).message).toContain('expected a file, got a pipe')
  expect((await refusalOf('/dev/zero')).message).toContain('expected a file, got a device')
  expect((await refusalOf(join(folder, 'none'))).message).toContain('there is no such file')
})

test('an endless line is refused after 64 MiB', async () => {
  const file = await write(`${GOOD}\n`)
  const handle = await open(file, 'r+')
  // A sparse file: 20 GB of zeros that take no disk space.
  await handle.truncate(20_000_000_000)
  await handle.close()
  expect((await refusalOf(file)).message).toContain(`${file}:2: expected a line of at most 64 MiB, got a longer one`)
})

async function openLog() {
  const log = memoryLog()
  await log.createTopics(topicsOf([completionsSampled], [], 1))
  const events = async () =>
    (await recordsOf(log, completionsSampled.type)).map(
      (record) => decodeEvent(record, vocabulary) as Event<typeof completionsSampled>,
    )
  return { log, events }
}
const OPTIONS = { blobs: memoryBlobs(), partitions: 1 }

test('a byte order mark, CRLF, blank lines and a missing last line feed are accepted', async () => {
  const file = await write(`\ufeff${GOOD}\r\n\r\n \t\n${at(1, { text: 'Ω\ufffd🗼' })}\r\n${line({ group_id: 'h' })}`)
  const { log, events } = await openLog()
  await runSource(await recordedCompletions(`recorded(${file})`), { ...OPTIONS, log })
  const emitted = await events()
  expect(emitted.map(({ key, data }) => [key, data.map(({ text }) => text)])).toEqual([
    ['g', ['<answer>1</answer>', 'Ω\ufffd🗼']],
    ['h', ['<answer>1</answer>']],
  ])
})

test('a file that changes after it was checked: the error reports how far ingestion got, and the original file continues there', async () => {
  const groups = Array.from({ length: 250 }, (_, index) => line({ group_id: `g${index}` }))
  const file = await write(groups.join('\n'))
  const { mtime } = await stat(file)
  const { log, events } = await openLog()
  const source = await recordedCompletions(`recorded(${file})`)
  let changed: Promise<void> | undefined
  const onProgress = () => {
    changed ??= writeFile(file, groups.with(180, line({ group_id: 'another' })).join('\n'))
  }
  const afterChange = inSteps({
    ...source,
    async produce(from, to, signal) {
      await changed
      return source.produce(from, to, signal)
    },
  })
  const run = runSource(afterChange, { ...OPTIONS, log, onProgress })
  await expect(run).rejects.toThrow(
    `${file}:101: was changed after it was checked; 100 of 250 parts of groups, all before line 101, are in the log`,
  )
  expect(await events()).toHaveLength(100)

  await writeFile(file, groups.join('\n'))
  await utimes(file, mtime, mtime)
  const rest = await runSource(await recordedCompletions(`recorded(${file})`), { ...OPTIONS, log })
  expect(rest).toMatchObject({ already: 100, done: 150 })
  expect((await events()).map(({ key }) => key)).toEqual(groups.map((_, index) => `g${index}`))
})

test('a file that grows while it is checked is refused', async () => {
  const groups = Array.from({ length: 10_000 }, (_, index) => line({ group_id: `g${index}` }))
  const file = await write(`${groups.join('\n')}\n`)
  const refusal = refusalOf(file)
  await setTimeout(100)
  await appendFile(file, `${line({ group_id: 'late' })}\n`)
  expect((await refusal).message).toBe(`${file}: was changed while it was read`)
})

test('a file that is longer than the longest text is read, with little memory', async () => {
  const file = await write(`${GOOD}\n`)
  const blank = Buffer.alloc(32 * 2 ** 20, ' ')
  blank[blank.length - 1] = 10
  for (let written = 0; written <= constants.MAX_STRING_LENGTH; written += blank.length) await appendFile(file, blank)
  await appendFile(file, at(1))
  const before = process.memoryUsage.rss()
  const source = await recordedCompletions(`recorded(${file})`)
  const [emitted] = await source.produce(0, 1, new AbortController().signal)
  expect(emitted?.event.data).toHaveLength(2)
  expect(process.memoryUsage.rss() - before).toBeLessThan(300 * 2 ** 20)
}, 60_000)
