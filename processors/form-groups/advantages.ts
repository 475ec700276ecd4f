import type { DIALECTS } from '../../schemas/events/rollout.ts'

export type Dialect = (typeof DIALECTS)[number]

export interface GroupStatistics {
  readonly mean: number
  /** Sample standard deviation, ddof 1; 0 for a group of one. */
  readonly std: number
  /** All rewards are equal; compares the rewards themselves, not a rounded std. */
  readonly zero_variance: boolean
}

/**
 * μ = Σ r / N and σ = sqrt(Σ (r − μ)² / (N − 1)), over the full group.
 *
 * @param rewards r [N], finite
 */
export function statisticsOf(rewards: readonly number[]): GroupStatistics {
  const mean = sum(rewards) / rewards.length
  const zero_variance = rewards.every((reward) => reward === rewards[0])
  if (zero_variance) return { mean: rewards[0] ?? Number.NaN, std: 0, zero_variance }
  const std = Math.sqrt(sum(rewards.map((reward) => (reward - mean) ** 2)) / (rewards.length - 1))
  return { mean, std, zero_variance }
}

type Normalise = (reward: number, index: number, rewards: readonly number[], group: GroupStatistics) => number

const BY_DIALECT: Record<Dialect, Normalise> = {
  /** Â = (r − μ) / σ. Paper 1 §3.3, which does not state ddof: 1 is inferred from the libraries that it builds on. */
  paper: (reward, _index, _rewards, { mean, std }) => (reward - mean) / std,
  /** Â = (r − μ) / (σ + 1e-4), ddof 1. TRL, GRPOTrainer. */
  trl: (reward, _index, _rewards, { mean, std }) => (reward - mean) / (std + 1e-4),
  /** Â = (r − μ) / (σ₀ + 1e-8), σ₀ with ddof 0. TRL, AsyncGRPOTrainer (experimental), which differs from GRPOTrainer. */
  trl_async: (reward, _index, rewards, { mean, std }) =>
    (reward - mean) / (std * Math.sqrt((rewards.length - 1) / rewards.length) + 1e-8),
  /** Â = (r − μ) / (σ + 1e-6), ddof 1. verl, compute_grpo_outcome_advantage. */
  verl: (reward, _index, _rewards, { mean, std }) => (reward - mean) / (std + 1e-6),
  /** Â = (r − μ) / (σ + 1e-9), ddof 1. OpenRLHF, group_norm. */
  openrlhf: (reward, _index, _rewards, { mean, std }) => (reward - mean) / (std + 1e-9),
  /** Â = (r − μ₋ᵢ) / (σ + 1e-4): mean of the others, σ of the group with ddof 1. PipelineRL. */
  pipelinerl: (reward, index, rewards, { std }) => (reward - meanWithout(rewards, index)) / (std + 1e-4),
  /** Â = (r − μ₋ᵢ) / (σ₋ᵢ + 1e-6): mean and ddof-1 deviation of the others; r − μ₋ᵢ if they are all equal. NeMo-RL. */
  nemo_rl: (reward, index, rewards) => {
    const others = rewards.filter((_, at) => at !== index)
    const { mean, std } = statisticsOf(others)
    return std > 0 ? (reward - mean) / (std + 1e-6) : reward - mean
  },
  /** Â = r − μ. prime-rl. */
  prime_rl: (reward, _index, _rewards, { mean }) => reward - mean,
}

/**
 * Group-relative advantages in one dialect; every entry's docstring has its equation and source.
 *
 * A group without variance gives no learning signal: all its advantages are 0, in every dialect.
 *
 * @param rewards r [N], finite, N ≥ 1
 * @returns Â [N]
 */
export function advantagesOf(rewards: readonly number[], dialect: Dialect): number[] {
  const group = statisticsOf(rewards)
  if (group.zero_variance) return rewards.map(() => 0)
  const normalise = BY_DIALECT[dialect]
  return rewards.map((reward, index) => normalise(reward, index, rewards, group))
}

function sum(values: readonly number[]): number {
  let total = 0
  for (const value of values) total += value
  return total
}

function meanWithout(rewards: readonly number[], index: number): number {
  return sum(rewards.filter((_, at) => at !== index)) / (rewards.length - 1)
}
