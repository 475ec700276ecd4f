/** Scenes per source of the paced producer. */
export const PACED_SCENES = 6
export const pacedSeed = (seed: string, job: number): string => `${seed}/pace/${job}`

/** Scenes of one `plumbline generate`: more than one transaction, so that it can be killed between two. */
export const GENERATED_SCENES = 120
export const generatedSeed = (seed: string, job: number): string => `${seed}/generate/${job}`

/** How many scenes the producers have written, by seed. */
export type Ledger = ReadonlyMap<string, number>

/** @param generated,paced how many jobs each producer has finished */
export function ledgerOf(seed: string, jobs: { readonly generated: number; readonly paced: number }): Ledger {
  const ledger = new Map<string, number>()
  for (let job = 0; job < jobs.generated; job++) ledger.set(generatedSeed(seed, job), GENERATED_SCENES)
  for (let job = 0; job < jobs.paced; job++) ledger.set(pacedSeed(seed, job), PACED_SCENES)
  return ledger
}
