import { describe } from 'vitest'
import { schedulesKeepEveryPromise } from '../many-seeds.ts'
import { trainingWith } from './schedule.ts'

describe('each group is in one state at every instant, in a chain of checkpoints once, and durable or dropped in the end', () => {
  schedulesKeepEveryPromise(101, 1000, { run: trainingWith(), flags: ' --training' })
})
