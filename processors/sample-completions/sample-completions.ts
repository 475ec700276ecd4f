import { random } from '../../environments/tower/random.ts'
import type { DataOf } from '../../schemas/declare/event.ts'
import type { Fields } from '../../schemas/declare/logical-types.ts'
import { completionsSampled, NO_MODEL, NO_TOKENS } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import { type Asked, askedOf } from '../asked.ts'
import { checkGroupSize } from '../largest-group.ts'
import { causeOf, isA, type Transform } from '../processor.ts'
import type { ScriptedPolicies, ScriptedPolicy } from '../scripted.ts'

/**
 * Answers requests with a scripted policy: each by the one of this name that its origin has. Requests of other origins
 * stay unanswered. The completions have no tokens or log-probabilities: they cannot be trained on.
 *
 * It shares its name with the policy over HTTP, `askPolicy`, and one stage serves all origins, so that a request is
 * answered once, whatever policy runs later.
 *
 * @param policy such as `noisy-oracle(150)`
 * @param scripted of every origin that has some
 * @throws RangeError when none of them has a policy of this name
 */
export function sampleCompletions(policy: string, scripted: readonly ScriptedPolicies[]): Transform {
  const answering = scripted.flatMap((policies) => {
    const found = policies.policyOf(policy)
    return found === undefined ? [] : [{ policies, policy: found }]
  })
  if (answering.length === 0 && scripted.length > 0) throw noSuchPolicy(policy, scripted)
  return {
    shape: 'transform',
    name: 'sample-completions',
    version: 1,
    about: `a scripted policy answers: ${policy}`,
    variant: [policy, ...answering.flatMap(({ policies }) => policies.variant ?? [])],
    produces: 'derived',
    max_batch: 64,
    inputs: [rolloutRequested],
    outputs: [completionsSampled],
    apply(events, { emit }) {
      for (const event of events) {
        if (!isA(event, rolloutRequested)) continue
        const one = answering.find(({ policies }) => policies.origin.name === event.data.origin)
        const asked = one && askedOf(one.policies.origin, event.data)
        if (one === undefined || asked === undefined) continue
        emit(completionsSampled, completionsOf(event.data, asked, one.policy), { causes: [causeOf(event)] })
      }
    },
  }

  function completionsOf(
    { group_id, group_size, seed, sampling }: DataOf<typeof rolloutRequested>,
    asked: Asked<string, Fields>,
    scripted_policy: ScriptedPolicy,
  ): DataOf<typeof completionsSampled> {
    checkGroupSize(group_size)
    const attempt_id = sourceId(['attempt', policy, group_id, seed])
    return Array.from({ length: group_size }, (_, completion_index) => ({
      group_id,
      completion_index,
      attempt_id,
      policy,
      text: scripted_policy.answer(asked, random('completion', seed, completion_index)),
      ...NO_TOKENS,
      ...sampling,
      ...NO_MODEL,
      seed,
    }))
  }
}

/**
 * The processor of a variant that a journal names: only the origins that answered then answer again.
 *
 * @throws RangeError when the answers of that time are not among these
 */
export function sampledAs(
  [policy = '', ...variants]: readonly string[],
  scripted: readonly ScriptedPolicies[],
): Transform {
  const missing = variants.find((named) => scripted.every(({ variant }) => variant !== named))
  if (missing !== undefined) {
    const there = scripted.flatMap(({ variant }) => variant ?? []).join(', ') || 'none'
    throw new RangeError(`policy ${policy}: expected the scripted policies ${missing} of some origin, got ${there}`)
  }
  const then = scripted.filter(({ variant }) => variant === undefined || variants.includes(variant))
  return sampleCompletions(policy, then)
}

function noSuchPolicy(policy: string, scripted: readonly ScriptedPolicies[]): RangeError {
  const names = scripted.map((policies) => policies.names).join('; or ')
  return new RangeError(
    `policy: expected ${names}, got ${JSON.stringify(policy)}; a policy with an argument looks like noisy-oracle(150)`,
  )
}
