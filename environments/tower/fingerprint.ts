/**
 * A digest of the simulator's pictures and outcomes, for comparing two processes, machines or versions.
 */

import { createHash } from 'node:crypto'
import { openPhysics } from './physics.ts'
import { randomLegal } from './policies.ts'
import { random } from './random.ts'
import { pixelHash, renderScene } from './render.ts'
import { sampleScene } from './scene.ts'
import { scoreAnswer } from './score.ts'
import { LEGAL_PAIRS } from './task.ts'

/** SHA-256, in hexadecimal, of `scenes` scenes of every task, their pictures, and eight scored random answers each. */
export async function simulatorFingerprint(scenes: number): Promise<string> {
  const physics = await openPhysics({ shortcuts: false })
  const hash = createHash('sha256')
  for (const { dataset, task } of LEGAL_PAIRS) {
    for (let index = 0; index < scenes; index++) {
      const scene = sampleScene({ dataset, split: 'train', seed: 'fingerprint', index })
      hash.update(JSON.stringify(scene))
      hash.update(pixelHash(renderScene(scene)))
      for (let completion = 0; completion < 8; completion++) {
        const text = randomLegal.complete(scene, task, random('fingerprint', task, index, completion))
        hash.update(JSON.stringify(scoreAnswer(scene, task, text, { physics })))
      }
    }
  }
  return hash.digest('hex')
}
