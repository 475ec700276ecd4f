import type { Fold } from '../../../processors/processor.ts'
import { scoring } from '../../../processors/scoring.ts'
import type { ScriptedPolicies } from '../../../processors/scripted.ts'
import { gravityOrigin } from './gravity-question.ts'

/** `guess`, which only pendulums have, and `noisy-oracle(σ)`, which towers have too; σ is in cm/s² here. */
export const gravityPolicies = {
  origin: gravityOrigin,
  names: 'guess or noisy-oracle(SIGMA)',
  variant: 'pendulum/1',
  policyOf(name) {
    if (name === 'guess') return { answer: (_asked, stream) => String(stream.integer(1, 20)) }
    const [, sigma] = /^noisy-oracle\((\d+)\)$/.exec(name) ?? []
    if (sigma === undefined) return undefined
    return {
      answer: ({ start: { length_m, period_s } }, stream) =>
        String((4 * Math.PI ** 2 * length_m) / period_s ** 2 + (Number(sigma) / 100) * stream.normal()),
    }
  },
} satisfies ScriptedPolicies<'gravity', typeof gravityOrigin.start.fields>

export function scoreGravity(): Fold {
  return scoring({
    version: 1,
    about: 'how far each completion is from the gravity',
    variant: [],
    origin: gravityOrigin,
    score({ start: { length_m, period_s } }, text) {
      const distance = Math.abs(Number(text) - (4 * Math.PI ** 2 * length_m) / period_s ** 2)
      const is_number = Number.isFinite(distance)
      return {
        outcome: is_number ? 'number' : 'text',
        reward: is_number ? -distance : -100,
        reward_name: 'gravity',
        reward_version: 1,
        scorer_error: null,
      }
    },
  })
}
