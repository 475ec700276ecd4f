import { defineEvent, type RowOfEvent } from '../declare/event.ts'
import { ID, INDEX, NOT_NEGATIVE, TEXT } from '../declare/limits.ts'
import { float64, int32, nullable, utf8 } from '../declare/logical-types.ts'
import { samplingFields, tokenFields } from './rollout.ts'

export const completionsSampled = defineEvent({
  type: 'policy.completions_sampled',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'recorded',
  about: 'A policy answered: some or all completions of a group.',
  row_key: ['completion_index'],
  row: {
    group_id: utf8(ID),
    completion_index: int32(INDEX, '0 … group_size − 1'),
    attempt_id: utf8(ID, 'one try at sampling the group; rows of different attempts never share a group'),
    policy: utf8(TEXT, 'how the policy was asked for, e.g. noisy-oracle(150)'),
    text: utf8(TEXT, 'the completion as the policy wrote it'),
    ...tokenFields,
    ...samplingFields,
    model_id: nullable(utf8(ID)),
    lineage: nullable(utf8(ID, 'training run that the policy versions count in')),
    tokenizer_sha256: nullable(utf8(ID)),
    chat_template_sha256: nullable(utf8(ID)),
    image_processor_sha256: nullable(utf8(ID)),
    adapter_sha256: nullable(utf8(ID)),
    quantisation: nullable(utf8(ID)),
    engine_version: nullable(utf8(ID)),
    seed: nullable(utf8(ID)),
    latency_ms: nullable(float64(NOT_NEGATIVE, 'null for a scripted policy')),
  },
})

/** The fields of a completion that was recorded without tokens: text is never tokenised again. */
export const NO_TOKENS = {
  finish_reason: null,
  prompt_token_ids: null,
  token_ids: null,
  completion_mask: null,
  logprobs: null,
  logprobs_kind: null,
  token_policy_version: null,
  turn_index: null,
  trainable: false,
} as const satisfies Partial<RowOfEvent<typeof completionsSampled>>

/** The fields of a completion without a model, or whose model does not identify itself. */
export const NO_MODEL = {
  model_id: null,
  lineage: null,
  tokenizer_sha256: null,
  chat_template_sha256: null,
  image_processor_sha256: null,
  adapter_sha256: null,
  quantisation: null,
  engine_version: null,
  latency_ms: null,
} as const satisfies Partial<RowOfEvent<typeof completionsSampled>>
