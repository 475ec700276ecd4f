import { completePhotograph } from '../../environments/tower/photograph.ts'
import { POLICY_NAMES, parsePolicy } from '../../environments/tower/policies.ts'
import type { sceneFields, TASKS } from '../../schemas/events/tower.ts'
import { towerOrigin } from '../../schemas/events/tower-origin.ts'
import { towerOf } from '../recorded-scene.ts'
import type { ScriptedPolicies } from '../scripted.ts'

/** The scripted policies of towers: `oracle`, `noisy-oracle(σ)`, `random-legal` and `constant(TEXT)`. */
export const towerPolicies: ScriptedPolicies<(typeof TASKS)[number], typeof sceneFields> = {
  origin: towerOrigin,
  names: POLICY_NAMES,
  policyOf(name) {
    const policy = parsePolicy(name)
    return (
      policy && {
        answer: ({ task, start: scene }, stream) =>
          scene.dataset === 'lerer'
            ? completePhotograph(policy, scene, stream)
            : policy.complete(towerOf(scene), task, stream),
      }
    )
  },
}
