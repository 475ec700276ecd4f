import { createHash } from 'node:crypto'
import { random } from '../../environments/tower/random.ts'
import type { DataOf, Event } from '../../schemas/declare/event.ts'
import { modelRefused } from '../../schemas/events/model.ts'
import { completionsSampled, NO_MODEL } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import { checkGroupSize } from '../largest-group.ts'
import { lastPublished, type Published } from '../last-published.ts'
import { causeOf, InvariantError, isA, type Kernel, type Transform, type TransformContext } from '../processor.ts'
import { type Asked, type Completion, decode } from './decode.ts'
import { type Decoder, decoderOf } from './decoder.ts'
import type { PixelsInput } from './pixels-kernel.ts'
import { type ModelRole, modelPolicyName } from './policy-role.ts'
import type { Conditions } from './tensors.ts'
import { Tokeniser } from './tokenise.ts'
import { tryDecoder } from './try-decoder.ts'

type Request = DataOf<typeof rolloutRequested>
type Context = TransformContext<Published | null>

/** Without its version: what is computed again with a later one is compared, not refused. */
const ENGINE = 'onnxruntime-node'
const REASON_LENGTH = 2_000

const pixels: Kernel<PixelsInput, Float32Array> = {
  module: new URL('./pixels-kernel.ts', import.meta.url).href,
  name: 'pixels',
  runs_in: 'thread',
}

/**
 * Answers requests with the model of a role that was published last. Each task takes a model up at a place of its own
 * among its requests, after it has tried it: one that does not fit is refused with an event, and the one before goes on.
 * Until the first one, requests wait in the log.
 *
 * Completions are drawn with the seed of their request: the same model and request give the same ones on the same kind
 * of processor. Log-probabilities are raw: of all tokens, before temperature, top-k and top-p.
 *
 * It shares its name with the other policies, so that a request is answered once, whatever policy runs later.
 */
export function sampleModel(role: ModelRole): Transform<Published | null> {
  const policy = modelPolicyName(role)
  return {
    shape: 'transform',
    name: 'sample-completions',
    version: 1,
    about: `the model of role ${role} that was published last answers`,
    variant: ['onnx', role],
    produces: 'derived',
    max_batch: 16,
    inputs: [rolloutRequested],
    outputs: [completionsSampled, modelRefused],
    broadcast: {
      ...lastPublished(role),
      needed: { about: `a published model of role ${role}`, isThere: (model) => model !== null },
    },
    async apply(events, context) {
      const model = context.broadcast
      if (model === null) throw new Error(`expected a model of role ${role}, none was taken up`)
      const taken = takenUp(model)
      const asked = events
        .filter((event) => isA(event, rolloutRequested))
        .filter(({ data }) => data.policy_role === role)
      const conditions = await Promise.all(asked.map(({ data }) => conditionsOf(data, taken, context)))
      const wanted = asked.map(({ data }, at) => askedOf(data, taken.decoder, conditions[at] as Conditions))
      const completions = await decode(taken.decoder, wanted.flat(), context.models)
      for (const [at, event] of asked.entries()) {
        const own = completions.splice(0, wanted[at]?.length ?? 0)
        const prompt = conditions[at]?.prompt ?? []
        const rows = rowsOf(event.data, own, { taken, policy, prompt })
        const model_hash = taken.decoder.weights.sha256
        context.emit(completionsSampled, rows, { causes: [causeOf(event)], model_hash })
      }
    },
    async takeUp(candidate, event, context) {
      if (candidate === null) return candidate
      try {
        await tryDecoder(decoderOf(candidate), context.models)
        return candidate
      } catch (error) {
        if (context.signal.aborted || (error as { retry?: unknown }).retry === 'later') throw error
        const { model_id, version, lineage } = candidate
        const reason = (error instanceof Error ? error.message : String(error)).slice(0, REASON_LENGTH)
        const refused = { model_id, role, version, lineage, processor: 'sample-completions', reason }
        context.emit(modelRefused, refused, { causes: [causeOf(event as Event)] })
        return context.broadcast
      }
    },
  }
}

/** What follows from a model: computed once for each. */
interface TakenUp {
  readonly decoder: Decoder
  readonly tokeniser: Tokeniser
  /** Of the JSON of its vocabulary. */
  readonly tokenizer_sha256: string
}

const TAKEN_UP = new WeakMap<Published, TakenUp>()

function takenUp(model: Published): TakenUp {
  const found = TAKEN_UP.get(model)
  if (found !== undefined) return found
  const decoder = decoderOf(model)
  const tokenizer_sha256 = createHash('sha256').update(JSON.stringify(decoder.vocabulary)).digest('hex')
  const taken = { decoder, tokeniser: new Tokeniser(decoder.vocabulary), tokenizer_sha256 }
  TAKEN_UP.set(model, taken)
  return taken
}

/** @throws InvariantError for a prompt or pictures that the model cannot have */
async function conditionsOf({ prompt, images }: Request, taken: TakenUp, context: Context): Promise<Conditions> {
  const { longest_prompt, picture } = taken.decoder
  const tokens = longest_prompt === undefined ? undefined : taken.tokeniser.tokens(prompt.text)
  if (tokens !== undefined && tokens.length > (longest_prompt ?? 0)) {
    throw new InvariantError(`prompt: expected at most ${longest_prompt} tokens of the model's, found ${tokens.length}`)
  }
  if (picture === undefined) return { prompt: tokens }
  const [image] = images
  if (image === undefined || images.length > 1) {
    throw new InvariantError(`images: expected one, as the model reads one, found ${images.length}`)
  }
  const bytes = await context.blobs.get(image)
  return { prompt: tokens, image: await context.compute.run(pixels, { bytes, picture }) }
}

function askedOf({ group_size, seed, sampling }: Request, { longest }: Decoder, conditions: Conditions): Asked[] {
  checkGroupSize(group_size)
  const { temperature, top_k, top_p, max_tokens, stop } = sampling
  return Array.from({ length: group_size }, (_, completion_index) => ({
    conditions,
    sampling: { temperature: temperature ?? 1, top_k: Math.max(0, top_k ?? 0), top_p: top_p ?? 1 },
    max_tokens: Math.min(max_tokens ?? longest - 1, longest - 1),
    stop: stop.filter((text) => text !== ''),
    stream: random('completion', seed, completion_index),
  }))
}

function rowsOf(
  { group_id, seed, sampling }: Request,
  completions: readonly Completion[],
  by: { readonly taken: TakenUp; readonly policy: string; readonly prompt: readonly number[] },
): DataOf<typeof completionsSampled> {
  const { taken, policy, prompt } = by
  const { model_id, version, lineage, weights } = taken.decoder
  const attempt_id = sourceId(['attempt', policy, weights.sha256, group_id, seed])
  return completions.map(({ tokens, logprobs, text, finish_reason }, completion_index) => ({
    ...NO_MODEL,
    ...{ group_id, completion_index, attempt_id, policy, text, finish_reason },
    prompt_token_ids: [...prompt],
    token_ids: [...tokens],
    completion_mask: tokens.map(() => 1),
    logprobs: [...logprobs],
    logprobs_kind: 'raw',
    token_policy_version: tokens.map(() => version),
    turn_index: tokens.map(() => 0),
    trainable: tokens.length > 0,
    ...sampling,
    ...{ model_id, lineage, seed, engine_version: ENGINE, tokenizer_sha256: taken.tokenizer_sha256 },
  }))
}
