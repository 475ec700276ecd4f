import { z } from 'zod'
import type { ClockDomain, DataOf, Event, EventType } from '../schemas/declare/event.ts'
import type { BlobRef } from '../schemas/declare/logical-types.ts'
import type { TensorArray, TensorValue } from '../schemas/declare/tensor-value.ts'
import { clockTicked } from '../schemas/events/clock.ts'

/**
 * A processor has one of three shapes: a fold, a transform or an effect. It declares the events that it reads and
 * writes, and knows nothing of topics, partitions, transports, clocks or files, so it can be tested with an array.
 */

interface Declared {
  /** Consumer group, part of its outputs' `ce_source`, and the name on the command line. kebab-case verb-noun. */
  readonly name: string
  /** Raise it when a change of the logic may give other outputs for the same inputs. */
  readonly version: number
  readonly about: string
  readonly inputs: readonly EventType[]
  readonly outputs: readonly EventType[]
  /**
   * Distinguishes this instance from others of the same name (reward, dialect, policy, model hash …). Part of the
   * identity of every output, so that outputs of several variants coexist.
   */
  readonly variant: readonly string[]
  /** A rebuild retains facts (results of external calls); it recomputes derived outputs and compares them. */
  readonly produces: 'derived' | 'facts'
}

/**
 * Emits an event. Its identity follows from processor, variant, type, causes and how many of that type this call
 * has emitted with the same causes; its time is the latest of its causes.
 *
 * `causes`: the events that this one was derived from; default: the input event. A tick is never a cause, so an
 * emission from `expire` must name them. `discriminator` distinguishes events with the same causes (a deadline).
 */
export type Emit = <T extends EventType>(
  type: T,
  data: DataOf<T>,
  options?: {
    readonly causes?: readonly Cause[]
    readonly discriminator?: string
    readonly model_hash?: string
    /** For a fact: when it was recorded, by the wall clock at the edge. Default: the latest of the causes. */
    readonly recorded_at?: string
  },
) => void

/** The part of an event that a derived event's identity, time and correlation need; small enough to store in state. */
export interface Cause {
  id: string
  time: string
  clock: ClockDomain
  correlation?: string
  /** Absent for an event with `before_rules`: events derived from it need not obey bounds and row keys either. */
  obeys_rules?: true
}

/** The schema of a cause in state. */
export const causeSchema = z.object({
  id: z.string(),
  time: z.string(),
  clock: z.enum(['virtual', 'wall']),
  correlation: z.string().optional(),
  obeys_rules: z.literal(true).optional(),
}) as z.ZodType<Cause>

export function causeOf(event: Event): Cause {
  const { id, time, clock, correlation, before_rules } = event
  const cause: Cause = correlation === undefined ? { id, time, clock } : { id, time, clock, correlation }
  if (before_rules === undefined) cause.obeys_rules = true
  return cause
}

export interface Deadline {
  readonly clock: ClockDomain
  /** RFC 3339; due on the first tick of `clock` at or after it. */
  readonly time: string
  /** Expiry only frees memory and emits nothing, so `--expire-pending` does not wait for it. */
  readonly housekeeping?: boolean | undefined
}

/** A version and a schema of stored state, and how earlier versions of it are read. */
export interface StateDeclaration<S> {
  readonly version: number
  /** Checks a state that is restored from a snapshot or changelog. */
  readonly schema: z.ZodType<S>
  /** From each earlier version to the next; older states than the oldest entry are rebuilt from the log. */
  readonly upcast?: { readonly [fromVersion: number]: (state: unknown) => unknown }
}

/**
 * What a task knows across its keys, from events that are routed to every partition: which model is the current one. A
 * task takes up each such event at a place of its own among its other inputs, which its journal records.
 */
export interface Broadcast<B> extends StateDeclaration<B> {
  /**
   * Distinguishes it from those of other variants of the processor, whose states stay stored beside it: a variant that
   * comes back continues with its own.
   */
  readonly name: string
  /** Routed to every partition. The processor itself is not called with them. */
  readonly inputs: readonly EventType[]
  /** Before the first of these events. JSON, as every later state. */
  readonly initial: B
  /**
   * What a task cannot work without. Until it is there, the inputs of a fold or transform wait in the log; an effect
   * plans, as far as it may hold requests, and makes no call. These events are read on, and a run until idle ends
   * without it.
   */
  readonly needed?: {
    /** For a person, after "wait for". */
    readonly about: string
    isThere(state: B): boolean
  }
  /**
   * Pure. Must not mutate the given state. The same event may come again, after later ones too, and must then change
   * nothing.
   * @throws InvariantError when the event breaks an invariant: it becomes a dead letter.
   */
  apply(state: B, event: Event): B
}

/**
 * Keyed state and one event at a time, synchronous and pure: grouping, joining, counting, expiring. Input events
 * with the same key share one state. State must survive `JSON.parse(JSON.stringify(state))` unchanged, and every key must
 * be forgotten in the end. An external producer may deliver an event twice; a fold for which this matters must recognise
 * it by its id. `conformance/promises.ts` checks all of this for every fold of the topology.
 */
export interface Fold<S = unknown, B = undefined> extends Declared {
  readonly shape: 'fold'
  readonly broadcast?: Broadcast<B>
  /**
   * Outputs and states are the same in whatever order events arrive between two ticks. `foldConformance` then permutes
   * them.
   */
  readonly any_order?: true
  readonly state: StateDeclaration<S>
  /**
   * `undefined` in: the key is new. `undefined` out: forget the key. Must not mutate the given state: if this throws
   * or emits an invalid event, the key retains its old state.
   * @throws InvariantError when the event breaks an invariant: it becomes a dead letter. Anything else is a bug.
   */
  apply(state: S | undefined, event: Event, emit: Emit, broadcast: B): S | undefined
  /** When `expire` must be called for this state, if ever. A pure function of the state. */
  deadline?(state: S): Deadline | undefined
  /** Called when a tick reaches the deadline. */
  expire?(state: S, now: Deadline, emit: Emit, broadcast: B): S | undefined
  /** Whether this state waits for something other than an event; the runtime keeps a list of such states. */
  waits?(state: S): boolean
}

/**
 * Stateless and batched: models and kernels. If a call has more than one event, emissions must name their causes. An
 * event that makes a batch fail is found by halving, so `apply` must leave its events as they are.
 */
export interface Transform<B = undefined> extends Declared {
  readonly shape: 'transform'
  readonly max_batch: number
  readonly broadcast?: Broadcast<B>
  /**
   * @throws InvariantError when an event breaks an invariant: it becomes a dead letter, as after any other error. An
   * error with `retry: 'later'` is the environment's: the whole batch is processed again.
   */
  apply(events: readonly Event[], context: TransformContext<B>): Promise<void> | void
  /**
   * Tries what an event of the broadcast state changes before the task works with it: loads a model and runs it once.
   * Deterministic, as `apply`: a rebuild tries it again.
   *
   * @param candidate what `broadcast.apply` has made of the state, which is in the context
   * @returns the state from now on: the candidate, or the one before
   * @throws as `apply`; the state is then the one before
   */
  takeUp?(candidate: B, event: Event, context: TransformContext<B>): Promise<B>
}

/** What a transform may reach apart from its events. It is valid until `apply` has returned. */
export interface TransformContext<B = undefined> {
  readonly emit: Emit
  /** The broadcast state as it was at these events. */
  readonly broadcast: B
  readonly blobs: TransformBlobs
  /** Runs heavy work outside of the event loop. */
  readonly compute: Compute
  readonly models: Models
  /**
   * Aborts when the result is no longer wanted: the program stops, or another process has taken over. The batch is then
   * processed again by its next owner. A transform that ignores the signal delays the stop until it returns.
   */
  readonly signal: AbortSignal
}

export interface TransformBlobs {
  /**
   * The bytes of a blob that an event names, or that this call has put. Other calls may get the same bytes: do not
   * change them.
   *
   * @throws an error that makes its event a dead letter when the store lacks the blob or has other bytes
   */
  get(ref: BlobRef): Promise<Uint8Array>
  /**
   * The elements of a tensor, in an array of the caller's own, which it may change. To pass a stored tensor on, emit
   * its value as it is: nothing is read then.
   */
  load(tensor: TensorValue): Promise<TensorArray>
  /**
   * A reference for the outputs of this call. The bytes are stored before the commit that names them, and not at all if
   * this call fails or is only a rebuild. They must not change after this.
   */
  put(bytes: Uint8Array, media_type: string): Promise<BlobRef>
}

/**
 * A function that runs outside of the event loop, by the module that exports it and its name. It gets one input and
 * returns one output, or a promise of it; both are plain values, typed arrays included.
 */
export interface Kernel<I, O> {
  /** The URL of the module. */
  readonly module: string
  /** The name of the exported function. */
  readonly name: string
  /**
   * `thread`: for code that can merely throw; nothing is copied that is transferred. `process`: for code that can
   * crash or take all memory, such as a published model; it has a memory limit of its own, and all values
   * are copied.
   */
  readonly runs_in: 'thread' | 'process'
  /** Exists at compile time only. */
  readonly is?: (input: I) => O
}

export interface Compute {
  /**
   * Waits for a free thread or process, then runs the kernel. What it returns is transferred: it must not keep it.
   * Aborts with the signal of the context, even a kernel that never ends.
   *
   * @param options.transfer buffers of the input to move instead of copying, which empties them here. Never those of an
   * event: its batch may be processed again.
   * @throws what the kernel throws, with its stack; KernelDiedError when it has ended its process several times.
   */
  run<I, O>(kernel: Kernel<I, O>, input: I, options?: { readonly transfer?: readonly ArrayBuffer[] }): Promise<O>
}

/** Numbers, row by row. */
export type ModelTensor = {
  [D in keyof ModelArrays]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: ModelArrays[D] }
}[keyof ModelArrays]

interface ModelArrays {
  float16: Float16Array
  float32: Float32Array
  float64: Float64Array
  int32: Int32Array
  int64: BigInt64Array
  uint8: Uint8Array
  /** 0 or 1. */
  bool: Uint8Array
}

/** Inputs or outputs of a model, by their names in it. */
export type ModelTensors = Readonly<Record<string, ModelTensor>>

export interface Models {
  /**
   * Runs an ONNX model once, on one thread, in a process with a memory limit of its own. The model is loaded when it is
   * first used and stays loaded. The same model and inputs give the same outputs on the same kind of processor; batches
   * of another size may give others, so pad them.
   *
   * @param model its weights, as `model.published` names them
   * @throws what the model's runtime says of it or of the inputs; ModelAwayError while the store lacks the weights;
   * KernelDiedError when the model has ended its process several times
   */
  run(model: BlobRef, inputs: ModelTensors): Promise<ModelTensors>
}

/** The blobs lack the weights of a model, or have other bytes. The events are processed once they are there. */
export class ModelAwayError extends Error {
  override readonly name = 'ModelAwayError'
  readonly retry = 'later'
}

/**
 * A kernel or a model ended its process, by a crash or by taking too much memory, each time it was run on this input.
 */
export class KernelDiedError extends Error {
  override readonly name = 'KernelDiedError'
  readonly retry = 'never'
}

/** The external results that an event requests: `wanted` of them, numbered from 0. Stored in state as JSON. */
export interface Plan<Q> {
  /** Identifies this attempt; the same after every restart. */
  readonly attempt_id: string
  readonly wanted: number
  /** The input of `call`. */
  readonly request: Q
  /** No call is made after this. */
  readonly deadline: Deadline
}

/** One call, for some of a plan's missing results. */
export interface Call<Q> {
  readonly attempt_id: string
  readonly request: Q
  readonly indices: readonly number[]
}

/** One result, ready to be a row of an output. */
export interface Answer {
  readonly index: number
  readonly row: Readonly<Record<string, unknown>>
  /** The type of the output; default: the first one of the effect. */
  readonly type?: string
}

/** A call's access to the outside. */
export interface CallContext<B = undefined> {
  /** The broadcast state when the call starts. What arrives later is for later calls. */
  readonly broadcast: B
  /** Aborts on timeout, or when the answer is no longer needed. */
  readonly signal: AbortSignal
  readonly http: HttpClient
  readonly blob: (ref: BlobRef) => Promise<Uint8Array>
  readonly models: PlacedModels
  readonly now_ms: () => number
  /** What calls have learned about the server since this process started; not part of any state. */
  readonly learned: Set<string>
}

/** The files of a model, as far as a server that reads them from a folder needs to know. */
export interface ModelToPlace {
  readonly lineage: string
  readonly files: readonly { readonly name: string; readonly blob: BlobRef }[]
  /** What an adapter is applied to. */
  readonly base: string | null
}

/** A folder that a server and this program share. */
export interface PlacedModels {
  /**
   * Checks the files of a model (docs/models.md) and writes them for the server to read: all of them or none, under a name
   * that has their hashes. Does nothing when they are there.
   *
   * @returns the path of the model's own folder
   * @throws ModelUnsoundError when the check finds faults; CallFailedError when the folder cannot be written
   */
  place(model: ModelToPlace): Promise<string>
}

/** The files of a model are not what docs/models.md allows: no retry helps. */
export class ModelUnsoundError extends Error {
  override readonly name = 'ModelUnsoundError'
  readonly retry = 'never'
}

export interface HttpClient {
  /**
   * Sends JSON and resolves when the whole answer has arrived, with any status.
   * @throws CallFailedError of scope `endpoint` when there is no answer, of scope `call` when it breaks off.
   * @throws AnswerTooLargeError
   */
  post(url: string, body: unknown, signal: AbortSignal): Promise<HttpAnswer>
}

export interface HttpAnswer {
  readonly status: number
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly text: string
}

/** A call without a result. It is retried: no requested result is dropped before its deadline, unless `unusable`. */
export class CallFailedError extends Error {
  override readonly name = 'CallFailedError'
  /** `endpoint`: every other call would fail too, so all of them wait. `call`: only this one. */
  readonly scope: 'call' | 'endpoint'
  /** A person must fix the cause; retried slowly. */
  readonly permanent: boolean
  readonly retry: 'later' | 'never'
  /** The waiting time that the server asked for. */
  readonly retry_after_ms: number | undefined
  /** A complete answer arrived but cannot be recorded; after a few of them the result is given up. */
  readonly unusable: boolean

  constructor(
    message: string,
    how: {
      readonly scope: 'call' | 'endpoint'
      readonly permanent?: boolean
      readonly retry_after_ms?: number
      readonly unusable?: boolean
    },
  ) {
    super(message)
    this.scope = how.scope
    this.permanent = how.permanent ?? false
    this.retry = this.permanent ? 'never' : 'later'
    this.retry_after_ms = how.retry_after_ms
    this.unusable = how.unusable ?? false
  }
}

/** An answer exceeds the client's size limit; requesting fewer results per call may help. */
export class AnswerTooLargeError extends CallFailedError {
  constructor(where: string, max_bytes: number) {
    super(`${where}: the answer is over ${max_bytes} bytes`, { scope: 'call', unusable: true })
  }
}

/**
 * A call to the outside: requested → pending → recorded. The plan is in the state before the first call; calls run off
 * the poll loop and outside transactions; each result is committed once, as it arrives, and a restart requests only the
 * missing ones. `plan` and `per_call` are pure; only `call` has side effects, through its context.
 *
 * An input that is routed to every partition is planned once, by the task of its key's partition.
 */
export interface Effect<Q = unknown, B = undefined> extends Declared {
  readonly shape: 'effect'
  readonly produces: 'facts'
  /** The results of one call become one event of each type that they name, one row each. */
  readonly outputs: readonly [EventType, ...EventType[]]
  /** Read on while so many requests wait that no more of them are taken. */
  readonly broadcast?: Broadcast<B>
  /** The version and schema of `Plan.request`, which is stored until the last result is recorded. */
  readonly state: {
    readonly version: number
    readonly schema: z.ZodType<Q>
    /** From each earlier version of a request to the next. Without it, older ones are planned again from the log. */
    readonly upcast?: { readonly [fromVersion: number]: (request: unknown) => unknown }
  }
  /** The plan for an input event; `undefined`: none. Only the first event of a key counts. */
  plan(event: Event): Plan<Q> | undefined
  /** How many results one call may request, given what was learned. */
  per_call(learned: ReadonlySet<string>): number
  /**
   * Requests some results and returns those that arrived, at least one.
   * @throws CallFailedError; any other error is treated as permanent.
   */
  call(call: Call<Q>, context: CallContext<B>): Promise<readonly Answer[]>
}

// biome-ignore lint/suspicious/noExplicitAny: of every type of state.
export type AnyFold = Fold<any, any>
// biome-ignore lint/suspicious/noExplicitAny: of every type of broadcast state.
export type AnyTransform = Transform<any>
// biome-ignore lint/suspicious/noExplicitAny: of every type of request and of broadcast state.
export type AnyEffect = Effect<any, any>
export type Processor = AnyFold | AnyTransform | AnyEffect

/**
 * One line of the topology: a processor by name, and a factory for any variant that a journal may name, so that an
 * earlier run with other options can be rebuilt.
 */
export interface Stage {
  readonly name: string
  /** The variant that runs now. */
  readonly variant: readonly string[]
  readonly create: (variant: readonly string[]) => Processor
}

/** Narrows an event to its declaration. */
export function isA<T extends EventType>(event: Event, type: T): event is Event<T> {
  return event.type === type.type
}

/** The event itself is wrong (undecodable, unregistered, an invariant broken): neither a retry nor a code fix helps. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
  readonly retry = 'never'
}

/** The events that a processor reads: its inputs, those of its broadcast state, and ticks if it has timers. */
export function inputsOf(processor: Processor): readonly EventType[] {
  const timers = processor.shape === 'effect' || (processor.shape === 'fold' && processor.expire !== undefined)
  return [...processor.inputs, ...(broadcastOf(processor)?.inputs ?? []), ...(timers ? [clockTicked] : [])]
}

// biome-ignore lint/suspicious/noExplicitAny: of every type of state.
export const broadcastOf = (processor: Processor): Broadcast<any> | undefined => processor.broadcast

/** The topics of these events. */
export const inputTopics = (processor: Processor): string[] => inputsOf(processor).map(({ type }) => type)

/**
 * How long a fold remembers a key after its work on it is done, to recognize redelivered and late events: a week.
 * Inferred.
 */
export const REDELIVERY_MEMORY_MS = 7 * 24 * 3_600_000
