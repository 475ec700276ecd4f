/** Names of what `rescore` appends, without its code. */

/** The transform. */
export const RESCORING = 'rescore-completions'
/** `ce_source` of the definitions of rewards: the command that also runs this transform appends them. */
export const REWARD_SOURCE = '/cli/rescore'
