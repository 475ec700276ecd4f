/**
 * The prompts of paper 1, appendix A.4, word for word.
 */

import type { Dataset, Task } from './task.ts'
import { assertLegalPair } from './task.ts'

/** `reasoning` is the paper's long-generation prompt; it exists for x-only on top block. */
export type PromptVariant = 'plain' | 'reasoning'

const PROMPTS: Readonly<Record<string, string>> = {
  'top_block/binary_stability/plain':
    'In the image you see a block tower with a single misplaced block on top. ' +
    'Your task is to determine if this is a stable tower. ' +
    'Respond with Yes if the tower is stable or No if it is not stable. ' +
    'Return your final answer between <answer> </answer>.',
  'top_block/x_only/plain':
    'In the image you see a block tower with a single misplaced block on top. ' +
    'Your task is to build a stable tower by moving the top block to the most stable position. ' +
    'You can move the top block to the left or right, by responding with an integer between -600 and 600. ' +
    'Return your final answer between <answer> </answer>.',
  'top_block/x_only/reasoning':
    'In the image you see a block tower with a single misplaced block on top. ' +
    'Your task is to build a stable tower by moving the top block to the most stable position. ' +
    'You can move the top block to the left or right, by responding with an integer between -600 and 600. ' +
    'Provide your reasoning between <think> and </think>. ' +
    "You can think about the problem for as long as you'd like. " +
    'While thinking, you should robustly verify your solution. ' +
    'Return your final answer between <answer> </answer>.',
  'side_block/x_only/plain':
    'In the image you see a block tower in the centre with a single misplaced block to the side. ' +
    'Your task is to build a stable tower by moving the misplaced block to the most stable position on the top of the tower. ' +
    'You can move the top block to the left or right, by responding with an integer between -600 and 600. ' +
    'Return your final answer between <answer> </answer>.',
  'side_block/x_y/plain':
    'In the image you see a block tower in the centre with a single misplaced block to the side. ' +
    'Your task is to build a stable tower by moving the misplaced block to the most stable position on the top of the tower. ' +
    'You can move the misplaced block to the left or right and up, by responding with two integers. ' +
    'The first integer should be between -600 and +600 and moves the block left or right. ' +
    'The second integer should be between 0 and +1000 and moves the block up. ' +
    'Return your final answer between <answer> </answer>.',
}

/** Binary stability on the photographs of Lerer et al. (2016), paper 1's external test; no generated scene uses it. */
export const LERER_PROMPT =
  'In the image you see a block tower. ' +
  'Your task is to determine if this is a stable tower. ' +
  'Respond with Yes if the tower is stable or No if it is not stable. ' +
  'Return your final answer between <answer> </answer>.'

/**
 * The prompt for an image of `dataset` and `task`.
 *
 * @throws RangeError when the paper has no such prompt.
 */
export function promptFor(dataset: Dataset, task: Task, variant: PromptVariant = 'plain'): string {
  assertLegalPair(dataset, task)
  const prompt = PROMPTS[`${dataset}/${task}/${variant}`]
  if (prompt === undefined) {
    throw new RangeError(
      `prompt variant for ${dataset}/${task}: expected plain (reasoning exists for top_block/x_only), got ${JSON.stringify(variant)}`,
    )
  }
  return prompt
}
