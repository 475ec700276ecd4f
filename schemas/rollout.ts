import { defineEvent } from './event.ts'
import {
  bool,
  float32,
  float64,
  image,
  int32,
  int64,
  list,
  nullable,
  oneOf,
  struct,
  timestamp,
  utf8,
} from './logical-types.ts'
import { sceneFields, sceneFieldsV1, TASKS } from './tower.ts'

export const ORIGINS = ['tower'] as const
export const PURPOSES = ['train', 'eval', 'probe'] as const
export const CLOCKS = ['virtual', 'wall'] as const
export const PROMPT_VARIANTS = ['plain', 'reasoning'] as const
export const REJECTIONS = ['late', 'duplicate', 'mixed_attempt', 'scorer_failed', 'index_out_of_range'] as const
export const LOGPROBS_KINDS = ['raw', 'processed'] as const

/** How advantages are normalised; `processors/form-groups/advantages.ts` has each equation and its source. */
export const DIALECTS = ['paper', 'trl', 'verl', 'openrlhf', 'pipelinerl', 'nemo_rl', 'prime_rl'] as const

export const samplingFields = {
  temperature: nullable(float64('null for a scripted policy')),
  top_p: nullable(float64()),
  top_k: nullable(int32()),
  max_tokens: nullable(int32()),
  stop: list(utf8()),
}

const SNAPSHOT = 'snapshot of the scene, so that a scorer needs no join'
const requestFields = {
  group_id: utf8(),
  origin: oneOf(ORIGINS, 'the environment that asks'),
  task: oneOf(TASKS),
  prompt: struct({ text: utf8(), sha256: utf8('of the UTF-8 text'), variant: oneOf(PROMPT_VARIANTS) }, 'paper 1 A.4'),
  scene: struct(sceneFields, SNAPSHOT),
  policy_role: utf8('which model role must answer'),
  group_size: int32('N of paper 1 §3.3; 16 there'),
  sampling: struct(samplingFields),
  seed: utf8('seed of the completions'),
  round: int32('how often this scene was asked before'),
  purpose: oneOf(PURPOSES),
}

const deadline = struct(
  { clock: oneOf(CLOCKS), time: timestamp() },
  'the group expires on the first tick of this clock at or after this time',
)
const requestFieldsV2 = { ...requestFields, scene: struct(sceneFieldsV1, SNAPSHOT) }

export const rolloutRequested = defineEvent({
  type: 'rollout.requested',
  version: 3,
  key: 'group_id',
  encoding: 'json',
  retention: 'source',
  about: 'A policy is asked for a group of completions of one prompt.',
  row: { ...requestFields, deadline },
  earlier: [
    {
      // A time means nothing without its clock: v1 had the two side by side.
      version: 1,
      row: { ...requestFieldsV2, clock: oneOf(CLOCKS), deadline: timestamp() },
      upcast: ({ clock, deadline, ...row }) => ({ ...row, deadline: { clock, time: deadline } }),
    },
    // A scene was always a simulated one.
    { version: 2, row: { ...requestFieldsV2, deadline }, upcast: (row) => row },
  ],
})

/** What a sampled completion carries for a trainer; token ids are never recomputed from text. */
export const tokenFields = {
  finish_reason: nullable(utf8('stop, length, …; null for a scripted policy')),
  prompt_token_ids: nullable(list(int32())),
  token_ids: nullable(list(int32(), 'the completion, as sampled')),
  completion_mask: nullable(list(int32('1 where the policy chose the token'))),
  logprobs: nullable(list(float32('per token of token_ids'))),
  logprobs_kind: nullable(oneOf(LOGPROBS_KINDS, 'before (raw) or after temperature, top-p and top-k (processed)')),
  token_policy_version: nullable(list(int64('policy version that sampled each token'))),
  turn_index: nullable(list(int32('turn of each token'))),
  trainable: bool('false when token ids or log-probabilities are missing'),
}

export const groupFormed = defineEvent({
  type: 'rollout.group_formed',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'All N completions of a group are there and scored: a row for each, with its advantage.',
  row: {
    group_id: utf8(),
    completion_index: int32(),
    attempt_id: utf8(),
    sampled_id: utf8('ce_id of the policy.completions_sampled that held the completion'),
    origin: oneOf(ORIGINS),
    task: oneOf(TASKS),
    group_size: int32(),
    scene_id: utf8(),
    prompt_sha256: utf8(),
    images: list(image()),
    policy: utf8(),
    text: utf8(),
    ...tokenFields,
    outcome: utf8(),
    reward: float64(),
    reward_name: utf8(),
    advantage: float64('in the named dialect; 0 for every row of a group without variance'),
    dialect: oneOf(DIALECTS),
    reward_mean: float64('over the group'),
    reward_std: float64('over the group, ddof 1'),
    zero_variance: bool('all N rewards are equal'),
    policy_version_oldest: nullable(int64('over the tokens of the group')),
    policy_version_newest: nullable(int64()),
    lineage: nullable(utf8('training run that the policy versions count in')),
  },
})

export const groupExpired = defineEvent({
  type: 'rollout.group_expired',
  version: 1,
  key: 'group_id',
  encoding: 'json',
  retention: 'derived',
  about: 'A deadline passed before the group was whole.',
  row: {
    group_id: utf8(),
    group_size: int32(),
    clock: oneOf(CLOCKS),
    deadline: timestamp(),
    missing: list(int32(), 'completion indices that never became a scored completion'),
    held: list(
      struct({ sampled_id: utf8(), completion_index: int32(), attempt_id: utf8() }),
      'completions that were there and go with the group',
    ),
  },
})

export const completionRejected = defineEvent({
  type: 'rollout.completion_rejected',
  version: 1,
  key: 'group_id',
  encoding: 'json',
  retention: 'derived',
  about: 'A sampled completion cannot be part of its group.',
  row: {
    group_id: utf8(),
    sampled_id: utf8(),
    completion_index: int32(),
    attempt_id: utf8(),
    reason: oneOf(REJECTIONS),
    detail: utf8('what was there already, or what the scorer said'),
  },
})
