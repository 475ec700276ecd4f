import { defineEvent } from '../declare/event.ts'
import { ID, INDEX, MAX_GROUP_SIZE, NOT_NEGATIVE, PICTURE, TEXT, TOKENS } from '../declare/limits.ts'
import {
  bool,
  declared,
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
} from '../declare/logical-types.ts'
import { PROMPT_VARIANTS, sceneFields, sceneFieldsV1, TASKS } from './tower.ts'

export const PURPOSES = ['train', 'eval', 'probe'] as const
export const CLOCKS = ['virtual', 'wall'] as const
const REJECTIONS_V1 = ['late', 'duplicate', 'mixed_attempt', 'scorer_failed', 'index_out_of_range'] as const
export const REJECTIONS = [...REJECTIONS_V1, 'unsupported_token'] as const
export const LOGPROBS_KINDS = ['raw', 'processed'] as const

/** How advantages are normalised; `processors/form-groups/advantages.ts` has each equation and its source. */
export const DIALECTS = ['paper', 'trl', 'trl_async', 'verl', 'openrlhf', 'pipelinerl', 'nemo_rl', 'prime_rl'] as const
/** Those of events from before `trl_async`. */
export const FIRST_DIALECTS = ['paper', 'trl', 'verl', 'openrlhf', 'pipelinerl', 'nemo_rl', 'prime_rl'] as const

/**
 * The purpose of a group whose event does not tell it. Before version 3 of `rollout.group_formed` the feed gave every
 * group to its trainers, also one that was asked for to evaluate: this keeps that meaning. The request, where the log
 * still has it, tells the purpose that was asked for.
 */
export const PURPOSE_BEFORE_V3 = 'train'

const IMAGES = { max_length: 256 }

export const samplingFields = {
  temperature: nullable(float64(NOT_NEGATIVE, 'null for a scripted policy')),
  top_p: nullable(float64({ min: 0, max: 1 })),
  top_k: nullable(int32({ min: -1 }, '0 or −1: all')),
  max_tokens: nullable(int32({ min: 0, max: 2 ** 24 })),
  stop: list(utf8(TEXT), { max_length: 256 }),
}

const requestFields = {
  group_id: utf8(ID),
  origin: utf8(ID, 'the environment that asks; its domain declares it'),
  task: utf8(ID, 'one of the tasks of the origin'),
  prompt: struct(
    { text: utf8(TEXT), sha256: utf8(ID, 'of the UTF-8 text'), variant: utf8(ID, 'how the task is put into words') },
    'what the policy is asked',
  ),
  images: list(image(PICTURE), IMAGES, 'shown with the prompt, in this order'),
  start_id: utf8(ID, 'identity of the start state within its origin'),
  start: declared('snapshot of the start state, as the origin declares it, so that a scorer needs no join'),
  policy_role: utf8(ID, 'which model role must answer'),
  group_size: int32({ min: 1, max: MAX_GROUP_SIZE }, 'N of paper 1 §3.3; 16 there'),
  sampling: struct(samplingFields),
  seed: utf8(ID, 'seed of the completions'),
  round: int32(NOT_NEGATIVE, 'how often this start state was asked about before'),
  purpose: oneOf(PURPOSES),
  deadline: struct(
    { clock: oneOf(CLOCKS), time: timestamp() },
    'the group expires on the first tick of this clock at or after this time',
  ),
}

/** Until version 3 every request was about a tower. */
const towerRequestFields = {
  group_id: utf8(ID),
  origin: oneOf(['tower']),
  task: oneOf(TASKS),
  prompt: struct({ text: utf8(TEXT), sha256: utf8(ID), variant: oneOf(PROMPT_VARIANTS) }),
  scene: struct(sceneFields),
  policy_role: utf8(ID),
  group_size: int32({ min: 1, max: MAX_GROUP_SIZE }),
  sampling: struct(samplingFields),
  seed: utf8(ID),
  round: int32(NOT_NEGATIVE),
  purpose: oneOf(PURPOSES),
}
const deadline = struct({ clock: oneOf(CLOCKS), time: timestamp() })
const towerRequestFieldsV2 = { ...towerRequestFields, scene: struct(sceneFieldsV1) }

export const rolloutRequested = defineEvent({
  type: 'rollout.requested',
  version: 4,
  key: 'group_id',
  encoding: 'json',
  retention: 'source',
  about: 'A policy is asked for a group of completions of one prompt.',
  row: requestFields,
  earlier: [
    {
      // A time means nothing without its clock, so v2 puts both into one struct.
      version: 1,
      row: { ...towerRequestFieldsV2, clock: oneOf(CLOCKS), deadline: timestamp() },
      upcast: ({ clock, deadline, ...row }) => ({ ...row, deadline: { clock, time: deadline } }),
    },
    // v3 adds photographs; every v2 scene is simulated and is a valid v3 scene.
    { version: 2, row: { ...towerRequestFieldsV2, deadline } },
    {
      // v4 knows no domain: the scene is what the towers declare as their start state.
      version: 3,
      row: { ...towerRequestFields, deadline },
      upcast: ({ scene, ...row }) => {
        const { scene_id, image } = scene as { scene_id: string; image: unknown }
        const start = { declaration: 'tower.scene', version: 1, value: scene }
        return { ...row, images: [image], start_id: scene_id, start }
      },
    },
  ],
})

/** The fields of a sampled completion that a trainer needs; token ids are never recomputed from text. */
export const tokenFields = {
  finish_reason: nullable(utf8(TEXT, 'stop, length, …; null for a scripted policy')),
  prompt_token_ids: nullable(list(int32(NOT_NEGATIVE), TOKENS)),
  token_ids: nullable(list(int32(NOT_NEGATIVE), TOKENS, 'the completion, as sampled')),
  completion_mask: nullable(list(int32({ min: 0, max: 1 }, '1 where the policy chose the token'), TOKENS)),
  logprobs: nullable(list(float32('per token of token_ids'), TOKENS)),
  logprobs_kind: nullable(oneOf(LOGPROBS_KINDS, 'before (raw) or after temperature, top-p and top-k (processed)')),
  token_policy_version: nullable(list(int64('policy version that sampled each token'), TOKENS)),
  turn_index: nullable(list(int32(NOT_NEGATIVE, 'turn of each token'), TOKENS)),
  trainable: bool('false when token ids or log-probabilities are missing'),
}

const formedIds = {
  group_id: utf8(ID),
  completion_index: int32(INDEX),
  attempt_id: utf8(ID),
  sampled_id: utf8(ID, 'ce_id of the policy.completions_sampled that held the completion'),
  origin: utf8(ID, 'the environment that asked'),
  task: utf8(ID),
  group_size: int32({ min: 1, max: MAX_GROUP_SIZE }),
}
const formedData = {
  prompt_sha256: utf8(ID),
  images: list(image(PICTURE), IMAGES, 'as they were shown'),
  policy: utf8(TEXT),
  text: utf8(TEXT),
  ...tokenFields,
  outcome: utf8(ID),
  reward: float64(),
  reward_name: utf8(ID),
  advantage: float64('in the named dialect; 0 for every row of a group without variance'),
  dialect: oneOf(DIALECTS),
  reward_mean: float64('over the group'),
  reward_std: float64(NOT_NEGATIVE, 'over the group, ddof 1'),
  zero_variance: bool('all N rewards are equal'),
  policy_version_oldest: nullable(int64('over the tokens of the group')),
  policy_version_newest: nullable(int64()),
  lineage: nullable(utf8(ID, 'training run that the policy versions count in')),
}
const formedFields = {
  ...formedIds,
  purpose: oneOf(PURPOSES, 'of the request; train where the event is older than this field'),
  start_id: utf8(ID, 'identity of the start state within its origin'),
  ...formedData,
}
const formedDataBefore = { ...formedData, dialect: oneOf(FIRST_DIALECTS) }
const formedFieldsV2 = {
  ...formedIds,
  start_id: utf8(ID, 'identity of the start state within its origin'),
  ...formedDataBefore,
}
/** Until version 2 every group was about a tower. */
const formedFieldsV1 = {
  ...formedIds,
  origin: oneOf(['tower']),
  task: oneOf(TASKS),
  scene_id: utf8(ID),
  ...formedDataBefore,
}

export const groupFormed = defineEvent({
  type: 'rollout.group_formed',
  version: 3,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'All N completions of a group are there and scored: a row for each, with its advantage.',
  row_key: ['completion_index'],
  row: formedFields,
  earlier: [
    {
      version: 1,
      row: formedFieldsV1,
      upcast: ({ scene_id, ...row }) => ({ ...row, start_id: scene_id }),
    },
    {
      version: 2,
      row: formedFieldsV2,
      upcast: (row) => ({ ...row, purpose: PURPOSE_BEFORE_V3 }),
    },
  ],
})

export const groupExpired = defineEvent({
  type: 'rollout.group_expired',
  version: 1,
  key: 'group_id',
  encoding: 'json',
  retention: 'derived',
  about: 'A deadline passed before the group was whole.',
  row: {
    group_id: utf8(ID),
    group_size: int32({ min: 1, max: MAX_GROUP_SIZE }),
    clock: oneOf(CLOCKS),
    deadline: timestamp(),
    missing: list(
      int32(INDEX),
      { max_length: MAX_GROUP_SIZE },
      'completion indices that never became a scored completion',
    ),
    held: list(
      struct({ sampled_id: utf8(ID), completion_index: int32(INDEX), attempt_id: utf8(ID) }),
      { max_length: MAX_GROUP_SIZE },
      'completions that were there and go with the group',
    ),
  },
})

const rejectedFields = {
  group_id: utf8(ID),
  sampled_id: utf8(ID),
  completion_index: int32(INDEX),
  attempt_id: utf8(ID),
  reason: oneOf(REJECTIONS),
  detail: utf8(TEXT, 'what was there before, or the message of the scorer'),
}

export const completionRejected = defineEvent({
  type: 'rollout.completion_rejected',
  version: 2,
  key: 'group_id',
  encoding: 'json',
  retention: 'derived',
  about: 'A sampled completion cannot be part of its group.',
  row: rejectedFields,
  earlier: [{ version: 1, row: { ...rejectedFields, reason: oneOf(REJECTIONS_V1) } }],
})
