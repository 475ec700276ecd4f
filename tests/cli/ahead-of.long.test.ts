import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eventually, plumblineOk, sharedFolder, start } from './plumbline.ts'
import { readLog, recordsOf } from './whole-log.ts'

const TOWER = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--seed', '7', '--group-size', '2']
const MOST = 8
/** Time in which a generator that does not wait would ask for hundreds of groups. */
const QUIET_MS = 1_500

test('a generator stays within N groups of what a trainer has taken over HTTP, and stops at once while it waits', {
  timeout: 600_000,
}, async () => {
  const cwd = await sharedFolder()
  const count = (topic: string) =>
    readLog(join(cwd, 'data', 'log'), async (log) => (await recordsOf(log, topic)).length)
  const requests = () => count('rollout.requested')

  const feed = start(['feed', '--listen', '127.0.0.1:0', '--json'], { cwd })
  const url = await eventually(() => /"url":"([^"]+)"/.exec(feed.stdout())?.[1], 120_000)
  const send = async (method: string, path: string, body: unknown): Promise<Response> => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${url}/v1/consumers/lab${path}`, { method, headers, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    return answer
  }

  const generator = start([...TOWER, '--forever', '--ahead-of', `lab=${MOST}`], { cwd })
  const quiet = async (asked: number) => {
    await eventually(async () => (await requests()) >= asked, 120_000)
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS))
    expect(await requests()).toBe(asked)
  }
  await quiet(MOST)
  expect(generator.stderr()).toContain('no consumer lab has subscribed yet')

  const run = start(['run'], { cwd })
  await send('PUT', '', {})
  await send('POST', '/runs', { run: 'r1', attempt: 'a' })
  const rank = { epoch: 1, rank: 0 }
  let [taken, parent] = [0, null as string | null]
  for (let step = 1; step <= 4; step++) {
    // All of them form, and none of it makes room.
    await eventually(async () => (await count('rollout.group_formed')) >= MOST + taken, 120_000)
    await quiet(MOST + taken)
    const leased = await send('POST', '/leases', { ...rank, groups: 3, request: `q${step}`, wait_ms: 30_000 })
    await leased.arrayBuffer()
    const groups = [0, 1, 2].map((at) => taken + at)
    taken += groups.length
    const with_lease = groups.map((sequence) => ({ sequence, lease: step }))
    await send('POST', '/steps', { ...rank, step, groups: with_lease })
    await send('POST', '/receipts', { ...rank, step })
    const checkpoint = `c${step}`
    await send('POST', '/checkpoints', { epoch: 1, checkpoint, parent, step, weights_sha256: 'w', groups })
    parent = checkpoint
  }
  await quiet(MOST + taken)
  const { counts } = (await (await fetch(`${url}/v1/consumers/lab`)).json()) as { counts: { durable: number } }
  expect(counts.durable).toBe(taken)

  const began_ms = performance.now()
  generator.child.kill('SIGTERM')
  const { code, stderr } = await generator.ended
  expect(code, stderr).toBe(0)
  expect(performance.now() - began_ms).toBeLessThan(5_000)

  // Another process goes on where it was, and counts what was asked for before.
  const next = start([...TOWER, '--forever', '--ahead-of', `lab=${MOST + 2}`], { cwd })
  await quiet(MOST + taken + 2)
  for (const { child, ended } of [next, run, feed]) {
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0 })
  }
  await plumblineOk(['verify'], { cwd })
})

test.each([
  [['--scenes', '3', '--ahead-of', 'lab=4'], 'use it with --forever'],
  [['--forever', '--ahead-of', 'lab'], 'expected a whole number from 1 to 1000000 after lab='],
  [['--forever', '--ahead-of', 'Lab=4'], 'expected the name of a consumer and a number'],
  [['--forever', '--ahead-of', 'lab=4', '--ahead-of', 'lab=5'], 'lab is named twice'],
])('%j is refused with what to do', { timeout: 60_000 }, async (args, why) => {
  const { code, stderr } = await start([...TOWER, ...args], { cwd: await sharedFolder() }).ended
  expect(code).toBe(2)
  expect(stderr).toContain(why)
})
