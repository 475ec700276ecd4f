import assert from 'node:assert/strict'
import { FencedError, type LogRecord, type NewRecord, UnknownTopicError } from '../port/log.ts'
import type { ConformanceCase } from './harness.ts'
import { append, createTopic, fresh, numbered, readAll, record, rejectsWith, text, values } from './steps.ts'

export const APPENDING: readonly ConformanceCase[] = [
  {
    name: 'records of a partition come back in the order in which they were appended',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      for (const from of [0, 10, 20]) await append(log, topic, 1, numbered(30).slice(from, from + 10))
      assert.deepEqual(await values(log, topic, 1), numbered(30))
      assert.deepEqual(await values(log, topic, 0), [])
    },
  },
  {
    name: 'offsets strictly increase, across transactions and aborted ones too',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(3))
      const producer = await log.producer({ transactional_id: fresh('p') })
      const aborted = producer.begin()
      aborted.append(topic, 0, record('never'))
      await aborted.abort()
      await append(log, topic, 0, numbered(3))
      const offsets = (await readAll(log, topic, 0)).map((one) => one.offset)
      assert.equal(offsets.length, 6)
      for (const [i, offset] of offsets.entries()) {
        const before = offsets[i - 1] ?? -1n
        assert(offset > before, `${offset} after ${before}`)
      }
    },
  },
  {
    name: 'key, headers and value are read back as written: unicode, empty, tombstones, many headers, 512 KiB',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const big = Buffer.alloc(512 * 1024, 7)
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      const headers = numbered(200, 'header').map((name, i) => ({ name, value: `${'wert ü '.repeat(i % 5)}${i}` }))
      const written: NewRecord[] = [
        { key: 'plain', headers: [], value: bytes },
        {
          key: null,
          headers: [
            { name: 'a', value: '' },
            { name: 'a', value: 'again' },
          ],
          value: Buffer.alloc(0),
        },
        { key: '', headers: [], value: null },
        { key: 'gräßlich 塔 🗼 \u0000 \u00ff', headers, value: Buffer.from('x') },
        { key: 'big', headers, value: big },
        { key: 'after', headers: [], value: Buffer.from('last') },
      ]
      const producer = await log.producer({ transactional_id: fresh('p') })
      const transaction = producer.begin()
      for (const one of written) transaction.append(topic, 0, one)
      await transaction.commit()
      const plain = (one: NewRecord) => ({ ...one, value: one.value && Buffer.from(one.value).toString('base64') })
      const found = (await readAll(log, topic, 0)).map(({ key, headers, value }) => plain({ key, headers, value }))
      assert.deepEqual(found, written.map(plain))
    },
  },
  {
    name: 'a record carries its topic, its partition and the time at which the log appended it',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 3)
      const before_ms = Date.now() - 60_000
      await append(log, topic, 2, ['one'])
      const [found] = await readAll(log, topic, 2)
      assert.equal(found?.topic, topic)
      assert.equal(found?.partition, 2)
      assert(found.appended_ms > before_ms && found.appended_ms < Date.now() + 60_000)
    },
  },
  {
    name: 'an open transaction is invisible, to reads, to ends and to members',
    async run(harness) {
      const log = await harness.open()
      const reader = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, ['before'])
      const producer = await log.producer({ transactional_id: fresh('p') })
      const transaction = producer.begin()
      for (const value of numbered(50)) transaction.append(topic, 0, record(value))
      await harness.elapse(50)
      assert.deepEqual(await values(reader, topic, 0), ['before'])
      await transaction.commit()
      assert.deepEqual(await values(reader, topic, 0), ['before', ...numbered(50)])
    },
  },
  {
    name: 'an aborted transaction is never visible, nor are its positions',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      const producer = await log.producer({ transactional_id: fresh('p') })
      const transaction = producer.begin()
      transaction.append(topic, 0, record('never'))
      transaction.standalonePositions(group, [{ topic, partition: 0, next: 1n }])
      await transaction.abort()
      await append(log, topic, 0, ['kept'])
      assert.deepEqual(await values(log, topic, 0), ['kept'])
      assert.deepEqual(await log.committed(group), [])
    },
  },
  {
    name: 'a transaction over several topics and partitions commits whole, with its positions',
    async run(harness) {
      const log = await harness.open()
      const [a, b] = [await createTopic(log, 2), await createTopic(log, 3)]
      const group = fresh('group')
      const producer = await log.producer({ transactional_id: fresh('p') })
      const transaction = producer.begin()
      for (const [topic, partition] of [
        [a, 0],
        [a, 1],
        [b, 2],
        [a, 0],
      ] as const) {
        transaction.append(topic, partition, record(`${partition}`))
      }
      transaction.standalonePositions(group, [{ topic: a, partition: 1, next: 5n }])
      await transaction.commit()
      assert.deepEqual([await values(log, a, 0), await values(log, a, 1)], [['0', '0'], ['1']])
      assert.deepEqual([await values(log, b, 0), await values(log, b, 2)], [[], ['2']])
      assert.deepEqual(await log.committed(group), [{ topic: a, partition: 1, next: 5n }])
    },
  },
  {
    name: 'an unknown topic or partition fails the transaction, and nothing of it is written',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      for (const [name, partition] of [
        [fresh('unknown'), 0],
        [topic, 1],
      ] as const) {
        const producer = await log.producer({ transactional_id: fresh('p') })
        const transaction = producer.begin()
        await rejectsWith(UnknownTopicError, async () => {
          transaction.append(topic, 0, record('never'))
          transaction.append(name, partition, record('never'))
          await transaction.commit()
        })
        await transaction.abort()
      }
      assert.deepEqual(await values(log, topic, 0), [])
    },
  },
  {
    name: 'a producer has one transaction at a time, and an ended one accepts nothing more',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const producer = await log.producer({ transactional_id: fresh('p') })
      const first = producer.begin()
      assert.throws(() => producer.begin())
      first.append(topic, 0, record('one'))
      await first.commit()
      assert.throws(() => first.append(topic, 0, record('late')))
      await assert.rejects(first.commit())
      const second = producer.begin()
      second.append(topic, 0, record('two'))
      await second.commit()
      assert.deepEqual(await values(log, topic, 0), ['one', 'two'])
    },
  },
  {
    name: 'a later producer of the same id fences the earlier one, whose commit changes nothing',
    async run(harness) {
      const [log, other] = [await harness.open(), await harness.open()]
      const topic = await createTopic(log, 1)
      const [transactional_id, group] = [fresh('p'), fresh('group')]
      const earlier = await log.producer({ transactional_id })
      const open = earlier.begin()
      open.append(topic, 0, record('zombie'))
      open.standalonePositions(group, [{ topic, partition: 0, next: 9n }])
      const later = await other.producer({ transactional_id })
      await rejectsWith(FencedError, () => open.commit())
      await rejectsWith(FencedError, async () => {
        const again = earlier.begin()
        again.append(topic, 0, record('zombie'))
        await again.commit()
      })
      const transaction = later.begin()
      transaction.append(topic, 0, record('alive'))
      await transaction.commit()
      assert.deepEqual(await values(log, topic, 0), ['alive'])
      assert.deepEqual(await log.committed(group), [])
    },
  },
  {
    name: 'producers with other ids do not fence each other, and concurrent ones lose nothing in one partition',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const names = ['a', 'b', 'c', 'd']
      const produce = async (name: string) => {
        const producer = await (await harness.open()).producer({ transactional_id: fresh(name) })
        for (let i = 0; i < 20; i += 1) {
          const transaction = producer.begin()
          for (let k = 0; k < 5; k += 1) transaction.append(topic, 0, record(`${name}${i * 5 + k}`))
          await transaction.commit()
        }
      }
      await Promise.all(names.map(produce))
      const found = await readAll(log, topic, 0)
      for (const name of names) {
        const own = found.map(text).filter((value) => value.startsWith(name))
        assert.deepEqual(own, numbered(100, name))
      }
      assert.equal(new Set(found.map((one: LogRecord) => one.offset)).size, 400)
    },
  },
  {
    name: 'committed records are still there after everything was closed and reopened',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      const [transactional_id, group] = [fresh('p'), fresh('group')]
      const producer = await log.producer({ transactional_id })
      const transaction = producer.begin()
      for (const value of numbered(5)) transaction.append(topic, 1, record(value))
      transaction.standalonePositions(group, [{ topic, partition: 1, next: 3n }])
      await transaction.commit()
      await log.close()
      const again = await harness.open()
      assert.deepEqual(await values(again, topic, 1), numbered(5))
      assert.deepEqual(await again.committed(group), [{ topic, partition: 1, next: 3n }])
      assert((await again.topics()).some((one) => one.name === topic && one.partitions === 2))
      await append(again, topic, 1, ['more'])
      assert.deepEqual(await values(again, topic, 1), [...numbered(5), 'more'])
    },
  },
]
