import { describe } from 'vitest'
import { schedulesKeepEveryPromise } from './many-seeds.ts'

describe('nothing is lost or duplicated, each completion has one fate and verify passes', () => {
  schedulesKeepEveryPromise(101, 1_000)
})
