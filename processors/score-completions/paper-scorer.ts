import { scorePhotograph } from '../../environments/tower/photograph.ts'
import { openPhysics } from '../../environments/tower/physics.ts'
import { REWARD_NAME, REWARD_VERSION } from '../../environments/tower/reward.ts'
import { scoreAnswer } from '../../environments/tower/score.ts'
import { towerOf } from '../recorded-scene.ts'
import type { Scorer } from './scored-row.ts'

/** The rewards of paper 1 §3.4 on Rapier's physics. */
export async function paperScorer(): Promise<Scorer> {
  const physics = await openPhysics()
  return {
    reward_name: REWARD_NAME,
    reward_version: REWARD_VERSION,
    physics_engine: physics.engine,
    physics_version: physics.version,
    score(scene, task, text) {
      const { answer, parse_error, dx, dy, placed, settled, outcome, distance_world, reward, reward_components } =
        scene.dataset === 'lerer'
          ? scorePhotograph(scene, task, text)
          : scoreAnswer(towerOf(scene), task, text, { physics })
      return {
        answer,
        parse_error,
        dx,
        dy,
        placed,
        settled,
        outcome,
        distance_world,
        reward,
        reward_components: { ...reward_components },
      }
    },
  }
}
