import { defineEvent } from './event.ts'
import { float64, int32, mapOf, nullable, oneOf, utf8 } from './logical-types.ts'
import { DIALECTS } from './rollout.ts'

/** Rewards of people's own over recorded completions: `plumbline rescore`. */

/** The code itself is in the event, so that a reward can be read and run again when its file is long gone. */
export const rewardDefined = defineEvent({
  type: 'tower.reward_defined',
  version: 1,
  key: 'reward_name',
  encoding: 'json',
  retention: 'source',
  about: 'Somebody named a reward function of their own, to rescore recorded completions with.',
  row: {
    reward_name: utf8('one name, one code, one dialect: never used again for another'),
    reward_version: int32('what the file says its version is'),
    dialect: oneOf(DIALECTS, 'how advantages of these rewards are normalised'),
    file: utf8('the file’s own name, without its folder'),
    source: utf8('the file'),
    source_sha256: utf8('of its bytes; what the file imports is not part of it'),
  },
})

/** A type of its own: form-groups and everything live read `tower.completions_scored` and never see these. */
export const completionsRescored = defineEvent({
  type: 'tower.completions_rescored',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'What recorded completions are worth under another reward; nothing was sampled or simulated again.',
  row: {
    group_id: utf8(),
    completion_index: int32('0 … group_size − 1'),
    attempt_id: utf8('the sampling attempt that the completion belongs to'),
    sampled_id: utf8('ce_id of the policy.completions_sampled that held the completion'),
    scored_id: utf8('ce_id of the tower.completions_scored that says what the world did with it'),
    reward: nullable(float64('null when the scorer had failed: the world has not answered')),
    reward_components: mapOf(float64(), 'the terms that add up to the reward, where the function names them'),
    reward_name: utf8('see tower.reward_defined'),
    reward_version: int32(),
    source_sha256: utf8('of the reward’s file'),
    dialect: oneOf(DIALECTS, 'how advantages of these rewards are normalised'),
  },
})
