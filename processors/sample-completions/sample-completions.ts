import { completePhotograph } from '../../environments/tower/photograph.ts'
import { parsePolicy } from '../../environments/tower/policies.ts'
import { type Random, random } from '../../environments/tower/random.ts'
import type { DataOf } from '../../schemas/declare/event.ts'
import { completionsSampled, NO_MODEL, NO_TOKENS } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import type { sceneFields, TASKS } from '../../schemas/events/tower.ts'
import { towerOrigin } from '../../schemas/events/tower-origin.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import { type Asked, askedOf } from '../asked.ts'
import { checkGroupSize } from '../largest-group.ts'
import { causeOf, isA, type Transform } from '../processor.ts'
import { towerOf } from '../recorded-scene.ts'

type Requested = DataOf<typeof rolloutRequested>
type AskedOfTower = Asked<(typeof TASKS)[number], typeof sceneFields>

/**
 * Answers requests about towers with a scripted policy. It uses the scene's numbers, not its picture, and so has no tokens or
 * log-probabilities: its completions cannot be trained on.
 *
 * @param policy `oracle`, `noisy-oracle(σ)`, `random-legal` or `constant(TEXT)`
 * @throws RangeError when it is none of these
 */
export function sampleCompletions(policy: string): Transform {
  const scripted = parsePolicy(policy)
  return {
    shape: 'transform',
    name: 'sample-completions',
    version: 1,
    about: `a scripted policy answers: ${policy}`,
    variant: [policy],
    produces: 'derived',
    max_batch: 64,
    inputs: [rolloutRequested],
    outputs: [completionsSampled],
    apply(events, { emit }) {
      for (const event of events) {
        if (!isA(event, rolloutRequested)) continue
        const asked = askedOf(towerOrigin, event.data)
        if (asked === undefined) continue
        emit(completionsSampled, completionsOf(event.data, asked), { causes: [causeOf(event)] })
      }
    },
  }

  function completionsOf(request: Requested, { task, start: scene }: AskedOfTower): DataOf<typeof completionsSampled> {
    const { group_id, group_size, seed, sampling } = request
    checkGroupSize(group_size)
    const complete = (recorded: typeof scene, asked: typeof task, stream: Random) =>
      recorded.dataset === 'lerer'
        ? completePhotograph(scripted, recorded, stream)
        : scripted.complete(towerOf(recorded), asked, stream)
    const attempt_id = sourceId(['attempt', policy, group_id, seed])
    return Array.from({ length: group_size }, (_, completion_index) => ({
      group_id,
      completion_index,
      attempt_id,
      policy,
      text: complete(scene, task, random('completion', seed, completion_index)),
      ...NO_TOKENS,
      ...sampling,
      ...NO_MODEL,
      seed,
    }))
  }
}
