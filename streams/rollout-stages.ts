import { activateModels } from '../processors/activate-models/activate-models.ts'
import { askPolicy } from '../processors/ask-policy/ask-policy.ts'
import { isHttpPolicy, isRecorded, parseHttpPolicy } from '../processors/ask-policy/policy-name.ts'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import type { Processor, Stage } from '../processors/processor.ts'
import { sampleCompletions, sampledAs } from '../processors/sample-completions/sample-completions.ts'
import { isModelPolicy, parseModelPolicy, roleNamed } from '../processors/sample-model/policy-role.ts'
import { sampleModel } from '../processors/sample-model/sample-model.ts'
import type { ScriptedPolicies } from '../processors/scripted.ts'
import { DIALECTS } from '../schemas/events/rollout.ts'
import { type OfAllDomains, stage, type TopologyOptions } from './domain.ts'

/**
 * What samples completions, and what forms groups of them, for every origin. A new processor is one file and one line
 * here.
 *
 * @throws RangeError for an invalid policy or dialect.
 */
export async function rolloutStages(options: TopologyOptions, all: OfAllDomains): Promise<readonly Stage[]> {
  const scored = all.origins.map((origin) => origin.scored)
  return [
    ...activationStages(options),
    ...(isRecorded(options.policy) ? [] : [samplingStage(options, all)]),
    stage(formGroups({ ...options, scored }), ([name]) => formGroups({ dialect: dialectOf(name), scored })),
  ]
}

/** A policy of a lineage has a server that loads the adapters of that lineage. */
function activationStages({ policy, max_staleness = 1 }: TopologyOptions): Stage[] {
  const { url, lineage } = isHttpPolicy(policy) ? parseHttpPolicy(policy) : {}
  if (url === undefined || lineage === undefined) return []
  const now = activateModels({ url, lineage, max_staleness })
  return [stage(now, () => now)]
}

/** All policies share one processor name, so that a request answered by one is not answered again by another. */
function samplingStage({ policy, sampling }: TopologyOptions, { scripted }: OfAllDomains): Stage {
  const now = samplerNow()
  const isNow = (variant: readonly string[]) => JSON.stringify(variant) === JSON.stringify(now.variant)
  return stage(now, (variant) => (isNow(variant) ? now : samplerOf(variant, scripted)))

  function samplerNow(): Processor {
    if (isModelPolicy(policy)) return sampleModel(parseModelPolicy(policy))
    if (!isHttpPolicy(policy)) return sampleCompletions(policy, scripted)
    return askPolicy({ ...parseHttpPolicy(policy), ...(sampling === undefined ? {} : { sampling }) })
  }
}

/** For rebuilding a journalled variant: a policy over HTTP is not called again, so it needs no address. */
function samplerOf(variant: readonly string[], scripted: readonly ScriptedPolicies[]): Processor {
  const [policy, model] = variant
  if (policy === 'openai-lineage' && model !== undefined) return askPolicy({ url: '', lineage: model })
  if (policy === 'openai' && model !== undefined) return askPolicy({ url: '', model })
  if (policy === 'onnx') return sampleModel(roleNamed(model, 'the journal of sample-completions'))
  return sampledAs(variant, scripted)
}

/** @throws RangeError naming the valid dialects. */
function dialectOf(name: string | undefined): (typeof DIALECTS)[number] {
  const found = DIALECTS.find((dialect) => dialect === name)
  if (found === undefined) throw new RangeError(`advantage dialect ${name}: expected one of ${DIALECTS.join(', ')}`)
  return found
}
