/**
 * Names everything that can change what a scene looks like or what becomes of an answer: sampling, splits, physics
 * settings, rules, rendering. Raise the number when a golden of this folder changes; recorded scenes carry it.
 */
export const SIMULATOR_VERSION = 'tower-1+rapier3d-deterministic-0.21.0'
