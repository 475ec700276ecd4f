import { defineEvent } from '../declare/event.ts'
import { ID, INDEX, TEXT } from '../declare/limits.ts'
import { float64, int32, mapOf, nullable, oneOf, utf8 } from '../declare/logical-types.ts'
import { DIALECTS, FIRST_DIALECTS } from './rollout.ts'

/** User-defined rewards for recorded completions: `plumbline rescore`. */

const definedFields = {
  reward_name: utf8(ID, 'one name, one code, one dialect: never used again for another'),
  reward_version: int32('version that the file exports'),
  dialect: oneOf(DIALECTS, 'how advantages of these rewards are normalised'),
  file: utf8(ID, 'the file’s own name, without its folder'),
  source: utf8(TEXT, 'the file'),
  source_sha256: utf8(ID, 'of its bytes; what the file imports is not part of it'),
}
const rescoredFields = {
  group_id: utf8(ID),
  completion_index: int32(INDEX, '0 … group_size − 1'),
  attempt_id: utf8(ID, 'the sampling attempt that the completion belongs to'),
  sampled_id: utf8(ID, 'ce_id of the policy.completions_sampled that held the completion'),
  scored_id: utf8(ID, 'ce_id of the tower.completions_scored with its outcome'),
  reward: nullable(float64('null when the scorer had failed: the world has not answered')),
  reward_components: mapOf(
    float64(),
    { max_length: 1_024 },
    'the terms that add up to the reward, where the function names them',
  ),
  reward_name: utf8(ID, 'see tower.reward_defined'),
  reward_version: int32(),
  source_sha256: utf8(ID, 'of the reward’s file'),
  dialect: oneOf(DIALECTS, 'how advantages of these rewards are normalised'),
}
/** Version 2 of both adds the dialect `trl_async`. */
const firstDialect = oneOf(FIRST_DIALECTS, 'how advantages of these rewards are normalised')

/** The event contains the code, so that a reward can be read and run again after its file is gone. */
export const rewardDefined = defineEvent({
  type: 'tower.reward_defined',
  version: 2,
  key: 'reward_name',
  encoding: 'json',
  retention: 'source',
  about: 'Somebody named a reward function of their own, to rescore recorded completions with.',
  row: definedFields,
  earlier: [{ version: 1, row: { ...definedFields, dialect: firstDialect } }],
})

/** A separate type: form-groups and other live processors read `tower.completions_scored` and never see these. */
export const completionsRescored = defineEvent({
  type: 'tower.completions_rescored',
  version: 2,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'What recorded completions are worth under another reward; nothing was sampled or simulated again.',
  row_key: ['sampled_id', 'completion_index'],
  row: rescoredFields,
  earlier: [{ version: 1, row: { ...rescoredFields, dialect: firstDialect } }],
})
