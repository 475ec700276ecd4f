import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { Blobs } from '../infra/blobs/blobs.ts'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import type { Log } from '../infra/log/port/log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { Worker } from '../infra/runtime/work/worker.ts'
import { causeOf, isA, type Transform } from '../processors/processor.ts'
import { defineEvent, type Event, type EventType } from '../schemas/declare/event.ts'
import { int32, tensor, utf8 } from '../schemas/declare/logical-types.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { TensorRef, type TensorValue } from '../schemas/declare/tensor-value.ts'
import { decodeEvent, encodeEvent } from '../schemas/wire/codec.ts'
import { type DuckDbSink, openDuckDbSink } from '../sinks/duckdb/duckdb-sink.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { benchFolder } from './folder.ts'
import type { OpenBench, Side } from './pairs.ts'

const SHAPE = [512, 512, 2]
const SIZE = 512 * 512 * 2
const shared = { version: 1, key: 'clip', encoding: 'arrow', retention: 'derived', about: '' } as const
const withFlow = { clip: utf8(), frame: int32(), flow: tensor('float32', SHAPE) }
const without = { clip: utf8(), frame: int32() }
const flowComputed = defineEvent({ ...shared, type: 'bench.flow_computed', row: withFlow })
const flowPassed = defineEvent({ ...shared, type: 'bench.flow_passed', row: withFlow })
const frameSeen = defineEvent({ ...shared, type: 'bench.frame_seen', row: without })
const framePassed = defineEvent({ ...shared, type: 'bench.frame_passed', row: without })
const vocabulary = catalogueOf([flowComputed, flowPassed, frameSeen, framePassed])

/** Events with a tensor of 2 MiB, changed, passed on and loaded, each compared with the least that it could cost. */
export const open: OpenBench = async ({ quick }) => {
  const changed = quick ? 2 : 40
  const passed = quick ? 20 : 2_000
  const loaded = quick ? 10 : 1_000
  const folder = await benchFolder()
  const flows = Array.from({ length: changed }, (_, at) => new Float32Array(SIZE).map((__, i) => (i + at) / 8))
  const stored = storedFlow(flows[0] as Float32Array)
  const sink = sinkSide(folder)
  return {
    measures: [
      {
        what: 'an event with a 2 MiB tensor through a transform that changes one element',
        unit: 'events',
        seconds: 'wall',
        goal: 0.5,
        candidate: changingSide(folder, flows),
        ceiling: {
          what: 'memcpy + one SHA-256 in and out',
          run() {
            for (const flow of flows) {
              createHash('sha256').update(flow).digest('hex')
              const copy = flow.slice()
              copy[7] = 0.5
              createHash('sha256').update(copy).digest('hex')
            }
            return flows.length
          },
        },
      },
      {
        what: 'the same passed on by reference',
        unit: 'events',
        seconds: 'wall',
        goal: 0.8,
        candidate: await passingSide('with the tensor', flowComputed, flowPassed, passed, (frame, clip) => ({
          clip,
          frame,
          flow: stored,
        })),
        ceiling: await passingSide('an event without the tensor', frameSeen, framePassed, passed, (frame, clip) => ({
          clip,
          frame,
        })),
      },
      {
        what: `DuckDB sink, ${loaded.toLocaleString('en')} such events`,
        unit: 'events',
        seconds: 'wall',
        goal: 0.7,
        candidate: await sink('with the tensor', flowComputed, loaded, (frame, clip) => ({
          clip,
          frame,
          flow: stored,
        })),
        ceiling: await sink('the same events without the tensor', frameSeen, loaded, (frame, clip) => ({
          clip,
          frame,
        })),
      },
    ],
    close: () => folder.remove(),
  }
}

type RowOf = (frame: number, clip: string) => Record<string, TensorValue | string | number>

function eventOf(type: EventType, at: number, row: RowOf): Event {
  const clip = `clip ${at}`
  const envelope = { version: 1, time: '2026-01-01T00:00:00.000Z', clock: 'virtual', causes: [] } as const
  const data = [row(at, clip)] as never
  return { ...envelope, id: `${type.type}/${at}`, source: '/bench', type: type.type, key: clip, data }
}

/** A reference to a stored tensor, as a reader of its event gets it. */
function storedFlow(flow: Float32Array): TensorRef {
  const encoded = encodeEvent(
    flowComputed,
    eventOf(flowComputed, 0, (frame, clip) => ({ clip, frame, flow })),
  )
  const event = decodeEvent(encoded, vocabulary) as Event<typeof flowComputed>
  const [row] = event.data
  if (!(row?.flow instanceof TensorRef)) throw new Error('the tensor is not stored outside of its event')
  return row.flow
}

async function logOf(type: EventType, to: EventType, events: readonly Event[], blobs: Blobs): Promise<Log> {
  const log = memoryLog()
  await log.createTopics(topicsOf([...catalogue, type, to], [{ name: 'pass' }], 1))
  const producer = await log.producer({ transactional_id: 'bench' })
  const transaction = producer.begin()
  for (const event of events) {
    const { key, headers, value, blobs: columns } = encodeEvent(type, event)
    for (const { bytes, ref } of columns) await blobs.put(bytes, ref.media_type)
    transaction.append(type.type, 0, { key, headers, value })
  }
  await transaction.commit()
  await producer.close()
  return log
}

function passing(from: EventType, to: EventType, apply: Transform['apply']): Transform {
  const declared = { name: 'pass', version: 1, about: '', variant: [], produces: 'derived', max_batch: 64 } as const
  return { ...declared, shape: 'transform', inputs: [from], outputs: [to], apply }
}

/** Runs a worker until it has committed so many outputs. */
async function work(processor: Transform, log: Log, blobs: Blobs, outputs: number): Promise<number> {
  const stop = new AbortController()
  let left = outputs
  const worker = new Worker({
    ...{ log, blobs, processor, vocabulary, partitions: 1, instance: 'bench' },
    onEvent(event) {
      if (event.kind === 'retrying') throw event.error
      if (event.kind === 'committed') left -= event.outputs
      if (left <= 0) stop.abort()
    },
  })
  await worker.run(stop.signal)
  return outputs
}

function changingSide(folder: Awaited<ReturnType<typeof benchFolder>>, flows: readonly Float32Array[]): Side {
  const processor = passing(flowComputed, flowPassed, async (events, { blobs, emit }) => {
    for (const event of events) {
      if (!isA(event, flowComputed)) continue
      const [row] = event.data
      if (row === undefined) continue
      const flow = await blobs.load(row.flow)
      flow[7] = 0.5
      emit(flowPassed, [{ ...row, flow }], { causes: [causeOf(event)] })
    }
  })
  let path = ''
  let blobs: Blobs = memoryBlobs()
  let log: Log = memoryLog()
  return {
    what: 'a worker, blobs in a folder, no flush',
    async prepare() {
      path = folder.fresh('blobs')
      blobs = directoryBlobs(path, { flush: false })
      const events = flows.map((flow, at) => eventOf(flowComputed, at, (frame, clip) => ({ clip, frame, flow })))
      log = await logOf(flowComputed, flowPassed, events, blobs)
    },
    run: () => work(processor, log, blobs, flows.length),
    async finish() {
      await log.close()
      await rm(path, { recursive: true, force: true })
    },
  }
}

async function passingSide(what: string, from: EventType, to: EventType, count: number, row: RowOf): Promise<Side> {
  const events = Array.from({ length: count }, (_, at) => eventOf(from, at, row))
  const processor = passing(from, to, (inputs, { emit }) => {
    for (const event of inputs) emit(to, event.data as never, { causes: [causeOf(event)] })
  })
  const blobs = memoryBlobs()
  let log: Log = memoryLog()
  return {
    what,
    async prepare() {
      log = await logOf(from, to, events, blobs)
    },
    run: () => work(processor, log, blobs, count),
    finish: () => log.close(),
  }
}

const sinkSide =
  (folder: Awaited<ReturnType<typeof benchFolder>>) =>
  async (what: string, type: EventType, count: number, row: RowOf): Promise<Side> => {
    const events = Array.from({ length: count }, (_, at) => eventOf(type, at, row))
    const log = await logOf(type, framePassed, events, memoryBlobs())
    let sink: DuckDbSink | undefined
    return {
      what,
      async prepare() {
        sink = await openDuckDbSink({
          file: `${folder.fresh('events')}.duckdb`,
          log,
          catalogue: [...catalogue, type],
          views: [],
          serve: false,
        })
      },
      async run() {
        await sink?.loadOnce()
        return count
      },
      async finish() {
        await sink?.close()
      },
    }
  }
