import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../../../infra/http/http-server.ts'
import { MemoryLog } from '../../../infra/log/memory/memory-log.ts'
import { OPEN_METRICS_TYPE } from '../../../infra/runtime/watch/open-metrics.ts'
import { FeedLog } from '../../../testing/feed-log.ts'
import { parseOpenMetrics, type Sample } from '../../../testing/open-metrics.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { addToken } from '../access/add-token.ts'
import { TokenFile } from '../access/tokens.ts'
import type { FeedOptions } from '../feed.ts'
import { errorAnswer, feedRoutes } from '../routes.ts'
import { FeedMetrics } from './feed-metrics.ts'

let log: FeedLog

beforeEach(async () => {
  log = await FeedLog.create()
  return () => log.close()
})

async function served(tokens?: TokenFile, options: Partial<FeedOptions> = {}) {
  const feed = log.feed(options)
  const server = await serveHttp(feedRoutes(feed, { tokens }), { host: '127.0.0.1', port: 0, errorAnswer })
  onTestFinished(() => server.close())
  const send = async (call: string, body?: unknown, token?: string) => {
    const [method = '', path = ''] = call.split(' ')
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
    const sent = body === undefined ? {} : { body: JSON.stringify(body) }
    const answer = await fetch(`http://${server.address}${path}`, { method, headers, ...sent })
    await answer.arrayBuffer()
    return answer.status
  }
  const scrape = async (token?: string) => {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const response = await fetch(`http://${server.address}/metrics`, { headers })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, OPEN_METRICS_TYPE])
    return parseOpenMetrics(await response.text())
  }
  return { feed, send, scrape }
}

const of = (samples: readonly Sample[], name: string, labels: Record<string, string>) =>
  samples.find((one) => one.name === `plumbline_${name}` && JSON.stringify(one.labels) === JSON.stringify(labels))
    ?.value

const consumer = 'lab'
const LAB = '/v1/consumers/lab'

async function train(send: (call: string, body?: unknown) => Promise<number>): Promise<void> {
  await log.form(8)
  await send(`PUT ${LAB}`, {})
  await send(`POST ${LAB}/runs`, { run: 'r1', attempt: 'a', world_size: 2 })
  const [rank, groups] = [{ epoch: 1, rank: 0 }, [0, 2].map((sequence) => ({ sequence, lease: 1 }))]
  await send(`POST ${LAB}/leases`, { ...rank, groups: 3, request: 'x' })
  await send(`POST ${LAB}/steps`, { ...rank, step: 1, groups })
  await send(`POST ${LAB}/receipts`, { ...rank, step: 1 })
}

test('metrics tell of each consumer its groups by state, how far it is behind, its epoch and its commits', async () => {
  const { send, scrape } = await served()
  await train(send)
  const samples = await scrape()
  const groups = (state: string) => of(samples, 'feed_groups', { consumer, state })
  expect(['numbered', 'leased', 'applied', 'durable', 'dropped'].map(groups)).toEqual([2, 1, 2, 0, 0])
  expect(of(samples, 'feed_behind_groups', { consumer })).toBe(3)
  expect(of(samples, 'feed_epoch', { consumer })).toBe(1)
  // Subscription, run, lease, step, receipt.
  expect(of(samples, 'feed_commits_total', { consumer })).toBe(5)
  expect(of(samples, 'log_reachable', {})).toBe(1)
})

test('metrics tell for how long the most silent rank was not heard of, one included that never called', async () => {
  const { send, scrape } = await served()
  await send(`PUT ${LAB}`, { lease_ms: 1_000_000 })
  const silence = async () => of(await scrape(), 'feed_rank_silence_seconds', { consumer })
  expect(await silence()).toBeUndefined()
  log.now_ms = 100_000
  await send(`POST ${LAB}/runs`, { run: 'r1', attempt: 'a', world_size: 2 })
  log.now_ms = 107_000
  await send(`POST ${LAB}/heartbeats`, { epoch: 1, rank: 0 })
  expect(await silence()).toBe(7)
  await send(`POST ${LAB}/heartbeats`, { epoch: 1, rank: 1 })
  log.now_ms = 109_500
  await send(`POST ${LAB}/heartbeats`, { epoch: 1, rank: 0 })
  expect(await silence()).toBe(2.5)
})

test('metrics count refusals by code, from 0 on, and those of no consumer apart', async () => {
  const { send, scrape } = await served()
  await send(`PUT ${LAB}`, {})
  const before = await scrape()
  expect(of(before, 'feed_refusals_total', { consumer, code: 'fenced' })).toBe(0)
  await send(`POST ${LAB}/runs`, { run: 'r1', attempt: 'a' })
  expect(await send(`POST ${LAB}/heartbeats`, { epoch: 9, rank: 0 })).toBe(409)
  expect(await send(`POST ${LAB}/heartbeats`, { epoch: 9, rank: 0 })).toBe(409)
  expect(await send(`POST ${LAB}/heartbeats`, {})).toBe(400)
  for (const name of ['nobody', 'never', 'none']) expect(await send(`GET /v1/consumers/${name}`)).toBe(404)
  expect(await send('GET /nothing')).toBe(404)
  const samples = await scrape()
  const refusals = samples.filter(({ name, value }) => name === 'plumbline_feed_refusals_total' && value > 0)
  expect(refusals.map(({ labels, value }) => ({ ...labels, value }))).toEqual([
    { code: 'unknown_consumer', value: 3 },
    { code: 'not_found', value: 1 },
    { consumer, code: 'invalid', value: 1 },
    { consumer, code: 'fenced', value: 2 },
  ])
})

test('metrics leave out a consumer that has retired, and one that another feed has taken', async () => {
  const { send, scrape } = await served()
  const names = async () => {
    const samples = await scrape()
    return [...new Set(samples.flatMap(({ labels }) => labels.consumer ?? []))].sort()
  }
  for (const name of ['lab', 'old', 'taken']) await send(`PUT /v1/consumers/${name}`, {})
  expect(await names()).toEqual(['lab', 'old', 'taken'])
  await send('DELETE /v1/consumers/old', { reason: 'done' })
  expect(await names()).toEqual(['lab', 'taken'])
  const later = log.feed()
  await later.consumer('taken')
  expect(await send('POST /v1/consumers/taken/runs', { run: 'r1', attempt: 'a' })).toBe(503)
  expect(await names()).not.toContain('taken')
})

test('with tokens, metrics need the role read and have the consumers that the token may see', async () => {
  const file = join(await temporaryFolder(), 'tokens.json')
  const all = await addToken(file, { name: 'all', consumers: ['*'], roles: ['read', 'receipts'], events: [] })
  const some = await addToken(file, { name: 'some', consumers: ['eval-*'], roles: ['read'], events: [] })
  const records = await addToken(file, { name: 'records', consumers: ['*'], roles: ['receipts'], events: [] })
  const { send, scrape } = await served(await TokenFile.open(file, { report: () => {} }))
  for (const name of ['lab', 'eval-1']) await send(`PUT /v1/consumers/${name}`, {}, all)
  const names = (samples: Sample[]) => [...new Set(samples.flatMap(({ labels }) => labels.consumer ?? []))].sort()
  expect(names(await scrape(all))).toEqual(['eval-1', 'lab'])
  expect(names(await scrape(some))).toEqual(['eval-1'])
  expect([await send('GET /metrics'), await send('GET /metrics', undefined, records)]).toEqual([401, 403])
  const samples = await scrape(all)
  expect(of(samples, 'feed_refusals_total', { code: 'unauthorised' })).toBe(1)
  expect(of(samples, 'feed_refusals_total', { code: 'forbidden' })).toBe(1)
})

/** A log whose offsets are not answered until the gate opens. */
class SlowLog extends MemoryLog {
  gate: Promise<void> | undefined

  override async endOffsets(topic: string): Promise<readonly bigint[]> {
    await this.gate
    return await super.endOffsets(topic)
  }
}

test('while the log does not answer, metrics say so and have the rest', async () => {
  const clock = {
    now_ms: () => performance.now(),
    sleep: (ms: number) => new Promise<void>((end) => setTimeout(end, ms)),
  }
  const slow = new SlowLog(log.broker, clock, 'always')
  const { feed, send } = await served(undefined, { log: slow })
  expect(await send(`PUT ${LAB}`, {})).toBe(200)
  const gate = Promise.withResolvers<void>()
  slow.gate = gate.promise
  const metrics = new FeedMetrics(feed, 50)
  const values = async (name: string) =>
    (await metrics.families(() => true)).find((one) => one.name === name)?.samples.map(({ value }) => value)
  expect(await values('plumbline_log_reachable')).toEqual([0])
  expect(await values('plumbline_feed_behind_groups')).toEqual([])
  expect(await values('plumbline_feed_epoch')).toEqual([0])
  gate.resolve()
  expect(await values('plumbline_log_reachable')).toEqual([1])
  expect(await values('plumbline_feed_behind_groups')).toEqual([0])
})
