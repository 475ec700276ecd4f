import { describe, expect, test } from 'vitest'
import { LERER_PROMPT, promptFor } from './prompts.ts'
import { LEGAL_PAIRS } from './task.ts'

/** Paper 1, appendix A.4, as printed. */
const PAPER = {
  binaryTop:
    'In the image you see a block tower with a single misplaced block on top. Your task is to determine if this is a stable tower. Respond with Yes if the tower is stable or No if it is not stable. Return your final answer between <answer> </answer>.',
  xOnlyTop:
    'In the image you see a block tower with a single misplaced block on top. Your task is to build a stable tower by moving the top block to the most stable position. You can move the top block to the left or right, by responding with an integer between -600 and 600. Return your final answer between <answer> </answer>.',
  xOnlySide:
    'In the image you see a block tower in the centre with a single misplaced block to the side. Your task is to build a stable tower by moving the misplaced block to the most stable position on the top of the tower. You can move the top block to the left or right, by responding with an integer between -600 and 600. Return your final answer between <answer> </answer>.',
  xySide:
    'In the image you see a block tower in the centre with a single misplaced block to the side. Your task is to build a stable tower by moving the misplaced block to the most stable position on the top of the tower. You can move the misplaced block to the left or right and up, by responding with two integers. The first integer should be between -600 and +600 and moves the block left or right. The second integer should be between 0 and +1000 and moves the block up. Return your final answer between <answer> </answer>.',
  lerer:
    'In the image you see a block tower. Your task is to determine if this is a stable tower. Respond with Yes if the tower is stable or No if it is not stable. Return your final answer between <answer> </answer>.',
  reasoning:
    "In the image you see a block tower with a single misplaced block on top. Your task is to build a stable tower by moving the top block to the most stable position. You can move the top block to the left or right, by responding with an integer between -600 and 600. Provide your reasoning between <think> and </think>. You can think about the problem for as long as you'd like. While thinking, you should robustly verify your solution. Return your final answer between <answer> </answer>.",
}

describe('prompts', () => {
  test('are the paper’s, word for word', () => {
    expect(promptFor('top_block', 'binary_stability')).toBe(PAPER.binaryTop)
    expect(promptFor('top_block', 'x_only')).toBe(PAPER.xOnlyTop)
    expect(promptFor('side_block', 'x_only')).toBe(PAPER.xOnlySide)
    expect(promptFor('side_block', 'x_y')).toBe(PAPER.xySide)
    expect(promptFor('top_block', 'x_only', 'reasoning')).toBe(PAPER.reasoning)
    expect(LERER_PROMPT).toBe(PAPER.lerer)
  })

  test('exist for every legal pair', () => {
    for (const { dataset, task } of LEGAL_PAIRS) expect(promptFor(dataset, task)).toContain('<answer> </answer>')
  })

  test('refuse a dataset and task that the paper does not have, and list those that it has', () => {
    expect(() => promptFor('top_block', 'x_y')).toThrow(
      'task for dataset top_block: expected one of binary_stability, x_only, got "x_y"',
    )
    expect(() => promptFor('side_block', 'x_only', 'reasoning')).toThrow('reasoning exists for top_block/x_only')
  })
})
