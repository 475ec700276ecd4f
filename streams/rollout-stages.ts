import { askPolicy } from '../processors/ask-policy/ask-policy.ts'
import { isHttpPolicy, isRecorded, parseHttpPolicy } from '../processors/ask-policy/policy-name.ts'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import type { Processor, Stage } from '../processors/processor.ts'
import { sampleCompletions } from '../processors/sample-completions/sample-completions.ts'
import type { Origin } from '../schemas/events/origin.ts'
import { DIALECTS } from '../schemas/events/rollout.ts'
import { stage, type TopologyOptions } from './domain.ts'

/**
 * What samples completions, and what forms groups of them, for every origin. A new processor is one file and one line
 * here.
 *
 * @throws RangeError for an invalid policy or dialect.
 */
export async function rolloutStages(options: TopologyOptions, origins: readonly Origin[]): Promise<readonly Stage[]> {
  const scored = origins.map((origin) => origin.scored)
  return [
    ...(isRecorded(options.policy) ? [] : [samplingStage(options)]),
    stage(formGroups({ ...options, scored }), ([name]) => formGroups({ dialect: dialectOf(name), scored })),
  ]
}

/** All policies share one processor name, so that a request answered by one is not answered again by another. */
function samplingStage(options: TopologyOptions): Stage {
  const now = sampler(options)
  const isNow = (variant: readonly string[]) => JSON.stringify(variant) === JSON.stringify(now.variant)
  return stage(now, (variant) => (isNow(variant) ? now : samplerOf(variant)))
}

function sampler({ policy, sampling }: TopologyOptions): Processor {
  if (!isHttpPolicy(policy)) return sampleCompletions(policy)
  return askPolicy({ ...parseHttpPolicy(policy), ...(sampling === undefined ? {} : { sampling }) })
}

/** For rebuilding a journalled variant: a policy over HTTP is not called again, so it needs no address. */
function samplerOf([policy = '', model]: readonly string[]): Processor {
  return policy === 'openai' && model !== undefined ? askPolicy({ url: '', model }) : sampleCompletions(policy)
}

/** @throws RangeError naming the valid dialects. */
function dialectOf(name: string | undefined): (typeof DIALECTS)[number] {
  const found = DIALECTS.find((dialect) => dialect === name)
  if (found === undefined) throw new RangeError(`advantage dialect ${name}: expected one of ${DIALECTS.join(', ')}`)
  return found
}
