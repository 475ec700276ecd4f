import { createRequire } from 'node:module'
import type * as Lmdb from 'lmdb'

/**
 * lmdb-js, loaded from its CommonJS build: one file for its forty modules, for less than two thirds of the processor
 * time. Every command loads it twice, in its own thread and in the writer's. A process must not load the other build
 * too, because both set the state of one native library.
 */
export const lmdb = createRequire(import.meta.url)('lmdb') as typeof Lmdb
