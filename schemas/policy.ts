import { defineEvent, type RowOfEvent } from './event.ts'
import { float64, int32, nullable, utf8 } from './logical-types.ts'
import { samplingFields, tokenFields } from './rollout.ts'

export const completionsSampled = defineEvent({
  type: 'policy.completions_sampled',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'recorded',
  about: 'A policy answered: some or all completions of a group.',
  row: {
    group_id: utf8(),
    completion_index: int32('0 … group_size − 1'),
    attempt_id: utf8('one try at sampling the group; rows of different attempts never share a group'),
    policy: utf8('how the policy was asked for, e.g. noisy-oracle(150)'),
    text: utf8('the completion as the policy wrote it'),
    ...tokenFields,
    ...samplingFields,
    model_id: nullable(utf8()),
    lineage: nullable(utf8('training run that the policy versions count in')),
    tokenizer_sha256: nullable(utf8()),
    chat_template_sha256: nullable(utf8()),
    image_processor_sha256: nullable(utf8()),
    adapter_sha256: nullable(utf8()),
    quantisation: nullable(utf8()),
    engine_version: nullable(utf8()),
    seed: nullable(utf8()),
    latency_ms: nullable(float64('null for a scripted policy')),
  },
})

/** The fields of a completion whose tokens nobody gave: text is never tokenised again. */
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

/** The fields of a completion that no model wrote, or one that says nothing about itself. */
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
