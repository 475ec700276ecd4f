import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { RecordedCompletion } from '../processors/rescore-completions/custom-reward.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'
import { type RewardFile, readRewardFile } from './reward-file.ts'

const completion = (at: number): RecordedCompletion => ({
  ...{ group_id: 'g', completion_index: at, scene_id: 's', task: 'x_y', answer: '1, 2', parse_error: null },
  ...{ outcome: 'stable', dx: 1, dy: 2, placed: null, settled: null, distance_world: at, recorded_reward: 20 },
})
const event = (from: number) => Array.from({ length: 16 }, (_, at) => completion(from + at))

async function opened(body: string, time_limit_s = 2): Promise<RewardFile> {
  const path = join(await temporaryFolder(), 'mine.mjs')
  await writeFile(path, `export const version = 1\n${body}\n`)
  return await readRewardFile(path, { name: 'mine', dialect: 'paper' }, time_limit_s)
}

/** Evaluates the completions of `events` events, then ends the thread. */
async function evaluate(body: string, events = 1) {
  const reward = await opened(body)
  try {
    return (await Promise.all(Array.from({ length: events }, (_, at) => reward.evaluate(event(at * 16))))).flat()
  } finally {
    await reward.close()
  }
}

test('rewards are in the order of their completions, whatever the file prints', async () => {
  const rewards = await evaluate(
    'export function reward({ distance_world }) { console.log("hi"); return distance_world }',
    40,
  )
  expect(rewards.map(({ reward }) => reward)).toEqual(Array.from({ length: 640 }, (_, at) => at))
})

describe('a reward file cannot end or stop the program:', () => {
  const plain = 'export function reward() { return 1 }'
  test.each([
    ['process.exit while it is loaded', `process.exit(3)\n${plain}`, 'it ended its thread (process.exit(3))'],
    ['an endless loop while it is loaded', `for (;;);\n${plain}`, 'it took longer than 2 s'],
    [
      'a promise that never settles while it is loaded',
      `await new Promise(() => setInterval(() => {}, 9))\n${plain}`,
      'it took longer than 2 s',
    ],
    ['a throw while it is loaded', `throw new Error('no')\n${plain}`, 'loading it failed: no'],
  ])('%s', async (_what, body, words) => {
    await expect(opened(body)).rejects.toThrow(words)
  })

  test.each([
    ['process.exit', 'export function reward() { process.exit(0) }', 'it ended its thread (process.exit(0))'],
    ['an endless loop', 'export function reward() { for (;;); }', 'it took longer than 2 s'],
    ['a promise', 'export async function reward() { return 1 }', 'got a promise (the function is async)'],
    [
      'a state that changes after a thousand calls',
      'let calls = 0; export function reward() { return ++calls > 1000 ? 2 : 1 }',
      'got 1 and then 2',
    ],
    ['chance', 'export function reward() { return Math.random() }', 'the same reward when asked twice'],
  ])('%s', async (_what, body, words) => {
    await expect(evaluate(body, 100)).rejects.toThrow(words)
  })

  test('much memory', async () => {
    const body = 'const kept = []; export function reward() { for (;;) kept.push(new Array(1e6).fill(0.5)) }'
    const reward = await opened(body, 60)
    await expect(reward.evaluate(event(0))).rejects.toThrow('it takes more than 1024 MB of memory')
    await reward.close()
  })

  test('a throw outside of its calls', async () => {
    const reward = await opened(`setTimeout(() => { throw new Error('late') }, 20)\n${plain}`, 60)
    const evaluated = async () => {
      for (;;) await reward.evaluate(event(0))
    }
    await expect(evaluated()).rejects.toThrow('mine.mjs: it failed aside: late')
    await reward.close()
  })

  test('a timer that it leaves behind does not keep the program running', async () => {
    const path = join(await temporaryFolder(), 'mine.mjs')
    await writeFile(
      path,
      'export const version = 1\nsetInterval(() => {}, 1000)\nexport function reward() { return 1 }\n',
    )
    const module = new URL('./reward-file.ts', import.meta.url).href
    const program = `const { readRewardFile } = await import(${JSON.stringify(module)}); const reward = await readRewardFile(${JSON.stringify(path)}, { name: 'mine', dialect: 'paper' }); await reward.close()`
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      stdio: 'inherit',
      timeout: 60_000,
    })
    expect(await once(child, 'exit')).toEqual([0, null])
  })
})
