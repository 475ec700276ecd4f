import type { AnyTransform, TransformBlobs, TransformContext } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import { TensorRef } from '../../../schemas/declare/tensor-value.ts'
import { type Blob, readTensor } from '../../../schemas/wire/offload.ts'
import { refOf } from '../../blobs/hashing.ts'
import { computeFor } from '../../compute/compute.ts'
import { emission, type Output } from './emission.ts'
import type { Reach } from './reach.ts'

export interface Called {
  readonly outputs: readonly Output[]
  /** What the call put. They must be durable before the transaction with these outputs commits. */
  readonly blobs: readonly Blob[]
}

/**
 * Calls a transform once. What it puts is held here and not stored: a call that fails leaves nothing behind, and
 * a rebuild names the same blobs without writing any.
 *
 * @throws what the transform throws; the reason of the signal when it threw after an abort
 */
export async function callTransform(
  transform: AnyTransform,
  events: readonly Event[],
  reach: Reach,
  broadcast: unknown = transform.broadcast?.initial,
): Promise<Called> {
  return await inContext(transform, events, reach, broadcast, async (context) => {
    await transform.apply(events, context)
  })
}

/** Tries a broadcast state, as `Transform.takeUp` says. @throws as `callTransform` */
export async function tryBroadcast(
  transform: AnyTransform,
  tried: { readonly event: Event; readonly before: unknown; readonly candidate: unknown },
  reach: Reach,
): Promise<Called & { readonly state: unknown }> {
  const { event, before, candidate } = tried
  let state = candidate
  const called = await inContext(transform, [event], reach, before, async (context) => {
    state = await transform.takeUp?.(candidate, event, context)
  })
  return { ...called, state }
}

async function inContext(
  transform: AnyTransform,
  events: readonly Event[],
  { blobs, compute, models, signal }: Reach,
  broadcast: unknown,
  // biome-ignore lint/suspicious/noExplicitAny: of any processor.
  act: (context: TransformContext<any>) => Promise<void>,
): Promise<Called> {
  const { emit, outputs } = emission(transform, events)
  const put = new Map<string, Blob>()
  // The tensors of one event share a blob, those of the next event have another: only one is retained.
  let column: { readonly sha256: string; readonly bytes: Promise<Uint8Array> } | undefined
  // The last blob whose bytes were given away, as the one tensor in them.
  let given: string | undefined
  const get: TransformBlobs['get'] = async (ref) => {
    signal.throwIfAborted()
    return put.get(ref.sha256)?.bytes ?? (await blobs.get(ref, { signal }))
  }
  const calls: TransformBlobs = {
    get,
    async load(tensor) {
      if (!(tensor instanceof TensorRef)) return tensor.slice()
      const { sha256, rows } = tensor.column
      const is_again = column?.sha256 === sha256 || given === sha256
      if (rows === 1 && !is_again && !put.has(sha256)) {
        given = sha256
        return readTensor(tensor, await get(tensor.column), true)
      }
      if (column?.sha256 !== sha256) column = { sha256, bytes: get(tensor.column) }
      return readTensor(tensor, await column.bytes)
    },
    async put(bytes, media_type) {
      const ref = refOf(bytes, media_type)
      put.set(ref.sha256, { ref, bytes })
      return ref
    },
  }
  try {
    await act({
      ...{ emit, broadcast, blobs: calls, signal },
      compute: computeFor(compute, signal),
      models: { run: (model, inputs) => models.run(model, inputs, { blobs, signal }) },
    })
  } catch (error) {
    signal.throwIfAborted()
    throw error
  }
  return { outputs, blobs: [...put.values()] }
}
