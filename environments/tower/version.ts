/**
 * Identifies everything that can change a scene's picture or an answer's outcome: sampling, splits, physics settings,
 * rules, rendering. Raise the number when a golden of this folder changes; recorded scenes contain it.
 */
export const SIMULATOR_VERSION = 'tower-1+rapier3d-deterministic-0.21.0'
