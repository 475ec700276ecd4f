import { expect, test } from 'vitest'
import type { Event, EventType } from '../../../schemas/declare/event.ts'
import { modelPublished } from '../../../schemas/events/model.ts'
import { append, Story } from '../../../testing/duckdb/recorded-tower.ts'
import { appendTold, FedConsumer, type Place, timeOf } from '../../../testing/duckdb/recorded-training.ts'
import { formedIn, tables, time } from '../../../testing/duckdb/training-tables.ts'
import { published } from '../../../testing/published-model.ts'

test('every column of ledger and consumers is what the events hold', async () => {
  const { log, ask, load } = await tables()
  const [a, b, c] = (await formedIn(log, 'a', 'b', 'c')) as [Place, Place, Place]
  const fed = new FedConsumer('lab')
    .subscribed()
    .started({ run: 'r7' })
    .leased(0, [[0, a]])
    .begun(0, 1, [[0, a]])
  fed
    .applied(0, 1, [[0, a]])
    .completed(0, 1, { groups: 1 })
    .saved('c1', 1, [[0, a]])
    .dropped([[null, b]])
  await appendTold(log, fed.told)
  await load()
  const { partition: log_partition, offset } = a
  const of_a = {
    consumer: 'lab',
    run: 'r7',
    epoch: '1',
    group_id: 'a',
    state: 'durable',
    sequence: '0',
    step: '1',
    rank: 0,
    checkpoint: 'c1',
    reason: null,
    times_leased: '1',
    times_rolled_back: '0',
    policy_version_oldest: '3',
    lineage: null,
    reward_mean: 1,
    leased_at: time(3),
    applied_at: time(5),
    durable_at: time(7),
    log_partition,
    log_offset: String(offset),
  }
  const nothing = {
    checkpoint: null,
    step: null,
    leased_at: null,
    applied_at: null,
    durable_at: null,
    times_leased: '0',
  }
  const dropped = { ...of_a, ...nothing, state: 'dropped', reason: 'stale', sequence: null, rank: null }
  expect(await ask('FROM ledger ORDER BY group_id')).toEqual([
    of_a,
    { ...dropped, group_id: 'b', log_partition: b.partition, log_offset: String(b.offset) },
    {
      ...{ ...dropped, run: null, epoch: null, state: 'waiting', reason: null },
      ...{ group_id: 'c', log_partition: c.partition, log_offset: String(c.offset) },
    },
  ])
  expect(await ask('FROM consumers')).toEqual([
    {
      ...{ consumer: 'lab', retired: false, run: 'r7', epoch: '1', step: '1', checkpoint: 'c1', matching: '3' },
      ...{ waiting: '1', leased: '0', applied: '0', durable: '1', dropped: '1', lost: '0' },
      ...{ not_subscribed: '0', ahead: '0', events: '8', missing: '0' },
    },
  ])
  const resumed = fed.number
  fed.started({ step: 0 }).rolledBack(null, 'durable', [[0, a]])
  await appendTold(log, fed.told.slice(resumed))
  await load()
  expect(
    await ask("SELECT state, sequence, rank, times_rolled_back AS again FROM ledger WHERE group_id = 'a'"),
  ).toEqual([{ state: 'waiting', sequence: '0', rank: 0, again: '1' }])
  expect(await ask('SELECT run, epoch, step, checkpoint FROM consumers')).toEqual([
    { run: 'r7', epoch: '2', step: '0', checkpoint: null },
  ])
})

test('groups at offsets that left the log unread are dropped as expired_unread, unless they were numbered or do not match', async () => {
  const { log, ask, load } = await tables()
  const places = (await formedIn(log, ...Array.from({ length: 12 }, (_, at) => `g${at}`))) as Place[]
  const of = places.filter(({ partition }) => partition === places[0]?.partition)
  const [first, second, third] = of as [Place, Place, Place]
  const lab = new FedConsumer('lab').subscribed().started()
  lab.leased(0, [[0, first]]).expired(first.partition, second.offset, third.offset)
  const other = new FedConsumer('other').subscribed().started().expired(first.partition, 0, third.offset).retired()
  await appendTold(log, [...lab.told, ...other.told])
  await load()
  const rows = await ask(`SELECT consumer, group_id, state, reason FROM ledger WHERE state <> 'waiting' ORDER BY ALL`)
  const gone = (consumer: string, { group_id }: Place) => ({
    ...{ consumer, group_id, state: 'dropped', reason: 'expired_unread' },
  })
  const expected = [
    gone('lab', second),
    { consumer: 'lab', group_id: first.group_id, state: 'leased', reason: null },
    gone('other', first),
    gone('other', second),
  ]
  expect(new Set(rows)).toEqual(new Set(expected))
  expect(await ask('SELECT consumer, waiting, dropped, lost FROM consumers ORDER BY consumer')).toEqual([
    { consumer: 'lab', waiting: '10', dropped: '1', lost: '0' },
    { consumer: 'other', waiting: '0', dropped: '2', lost: '0' },
  ])
})

test('a filter names origin, task, dialect, reward and lineages; null takes any, and a group without lineage is in none', async () => {
  const { log, ask, load } = await tables()
  await append(log, (story) => {
    for (const name of ['one', 'two']) story.formed(name, [2, 0], undefined, { lineage: name })
    story.formed('none', [2, 0], undefined, { purpose: 'eval' })
  })
  const filters = [
    { origin: 'tower', task: 'x_only', dialect: 'prime_rl', reward_name: 'paper' },
    { origin: 'pendulum' },
    { task: 'x_y' },
    { dialect: 'trl' },
    { reward_name: 'mine' },
    { lineages: ['two', 'three'] },
    { lineages: [] },
    { purposes: ['train'] as const },
    { purposes: ['eval', 'probe'] as const },
    { purposes: null },
  ]
  for (const [at, filter] of filters.entries()) await appendTold(log, new FedConsumer(`c${at}`).subscribed(filter).told)
  await load()
  const matching = await ask('SELECT matching, not_subscribed, lost FROM consumers ORDER BY consumer')
  expect(matching).toEqual(
    [3, 0, 0, 0, 0, 1, 0, 2, 1, 3].map((count) => ({
      matching: `${count}`,
      not_subscribed: `${3 - count}`,
      lost: '0',
    })),
  )
  expect(await ask("SELECT group_id FROM ledger WHERE consumer = 'c5'")).toEqual([{ group_id: 'two' }])
})

test('a group that the feed gives to a consumer whose filter it does not match makes lost negative', async () => {
  const { log, ask, load } = await tables()
  const [a] = (await formedIn(log, 'a')) as [Place]
  await appendTold(
    log,
    new FedConsumer('lab')
      .subscribed({ task: 'x_y' })
      .started()
      .leased(0, [[0, a]]).told,
  )
  await load()
  expect(await ask('SELECT matching, leased, lost FROM consumers')).toEqual([
    { matching: '0', leased: '1', lost: '-1' },
  ])
})

/** Appends what it is told under other ids. */
class Again extends Story {
  override event<T extends EventType>(type: T, event: Event<T>): this {
    return super.event(type, { ...event, id: `${event.id}-again` })
  }
}

test('a group that was formed twice is two groups, and one whose event the log holds twice is one', async () => {
  const { log, ask, load } = await tables()
  const [first] = (await formedIn(log, 'a')) as [Place]
  await append(log, (story) => {
    new Again((topic, partition, record) => story.raw(topic, partition, record)).formed('a', [2, 0])
    story.formed('a', [2, 0])
  })
  const second = { ...first, offset: first.offset + 2 }
  const fed = new FedConsumer('lab')
    .subscribed()
    .started()
    .leased(0, [
      [0, first],
      [1, second],
    ])
  await appendTold(log, fed.dropped([[1, second]]).told)
  await load()
  expect(await ask('SELECT group_id, sequence, state FROM ledger ORDER BY sequence')).toEqual([
    { group_id: 'a', sequence: '0', state: 'leased' },
    { group_id: 'a', sequence: '1', state: 'dropped' },
  ])
  expect(await ask('SELECT matching, leased, dropped, lost, ahead FROM consumers')).toEqual([
    { matching: '2', leased: '1', dropped: '1', lost: '0', ahead: '0' },
  ])
})

test('while an earlier event is not loaded, missing counts it', async () => {
  const { log, ask, load } = await tables()
  const [a] = (await formedIn(log, 'a')) as [Place]
  const { told } = new FedConsumer('lab')
    .subscribed()
    .started()
    .leased(0, [[0, a]])
    .ended(0, [[0, a]])
  await appendTold(log, told.toSpliced(2, 1))
  await load()
  expect(await ask('SELECT waiting, lost, events, missing FROM consumers')).toEqual([
    { waiting: '1', lost: '0', events: '4', missing: '1' },
  ])
})

test('training events that another program wrote are in no view', async () => {
  const { log, ask, load } = await tables()
  const [a] = (await formedIn(log, 'a')) as [Place]
  await appendTold(log, new FedConsumer('lab').subscribed().told)
  const { told } = new FedConsumer('other')
    .subscribed()
    .started()
    .leased(0, [[0, a]])
  const foreign = told.map(({ type, event }) => ({ type, event: { ...event, source: '/a/notebook' } }))
  await appendTold(log, foreign)
  await load()
  expect(await ask('SELECT consumer, waiting, leased FROM consumers')).toEqual([
    { consumer: 'lab', waiting: '1', leased: '0' },
  ])
  expect(await ask('SELECT consumer FROM ledger')).toEqual([{ consumer: 'lab' }])
  expect(await ask('FROM staleness')).toEqual([])
})

test('a step is begun until every rank has completed it, then applied, then durable or rolled back', async () => {
  const { log, ask, load } = await tables()
  const groups = await formedIn(log, 'a', 'b', 'c', 'd', 'e')
  const [a, b, c, d, e] = groups.map((place, sequence) => [sequence, place] as const) as [
    ...Array<readonly [number, Place]>,
  ]
  if (!(a && b && c && d && e)) throw new Error('expected five groups')
  const fed = new FedConsumer('lab').subscribed().started({ world_size: 2 }).leased(0, [a, b, c, d, e])
  fed.begun(0, 1, [a]).begun(1, 1, [b]).applied(0, 1, [a])
  fed.completed(0, 1, { loss: 1, grad_norm: 2, tokens: 10, seconds: 3 })
  fed.applied(1, 1, [b]).completed(1, 1, { loss: 3, grad_norm: 4, tokens: 20, seconds: 1 })
  fed.saved('c1', 1, [a, b])
  for (const [step, group] of [
    [2, c],
    [3, d],
  ] as const) {
    fed.begun(0, step, [group]).applied(0, step, [group]).completed(0, step).completed(1, step)
  }
  fed.begun(0, 4, [e]).completed(0, 4)
  const before = fed.told.length
  await appendTold(log, fed.told)
  await load()
  const states = 'SELECT epoch, step, state, ranks, groups, checkpoint FROM steps ORDER BY epoch, step'
  const row = (
    epoch: string,
    step: number,
    state: string,
    ranks: string,
    groups: string,
    checkpoint: unknown = null,
  ) => {
    return { epoch, step: `${step}`, state, ranks, groups, checkpoint }
  }
  expect(await ask(states)).toEqual([
    row('1', 1, 'durable', '2', '2', 'c1'),
    row('1', 2, 'applied', '2', '1'),
    row('1', 3, 'applied', '2', '1'),
    row('1', 4, 'begun', '1', '1'),
  ])
  expect(await ask('SELECT loss, grad_norm, tokens, seconds, world_size FROM steps WHERE step = 1')).toEqual([
    { loss: 2, grad_norm: 3, tokens: '30', seconds: 3, world_size: 2 },
  ])
  fed.saved('c3', 3, [c, d]).ended(0, [e]).started({ world_size: 1, checkpoint: 'c1', step: 1 })
  fed.rolledBack('c1', 'durable', [c, d])
  fed.leased(0, [c]).begun(0, 2, [c]).applied(0, 2, [c]).completed(0, 2).saved('c2', 2, [c])
  await appendTold(log, fed.told.slice(before))
  await load()
  expect(await ask(states)).toEqual([
    row('1', 1, 'durable', '2', '2', 'c1'),
    ...[2, 3].map((step) => row('1', step, 'rolled_back', '2', '1')),
    row('1', 4, 'rolled_back', '1', '1'),
    row('2', 2, 'durable', '1', '1', 'c2'),
  ])
})

test('staleness counts from the policy that was published last in the lineage, or from the fork, at the time of the lease', async () => {
  const { log, ask, load } = await tables()
  const [a, b] = (await formedIn(log, 'a', 'b')) as [Place, Place]
  const versions = (policy_version_oldest: number | null) => ({ policy_version_oldest, lineage: 'mother' })
  const forked_from = { lineage: 'mother', version: 4 }
  const fed = new FedConsumer('lab').subscribed().started({ lineage: 'child', forked_from })
  fed.leased(0, [[0, a]], versions(3)) // 3: before a publication
  fed.leased(0, [[0, a]], versions(3)) // 4: at its time
  fed.leased(0, [[0, a]], versions(3)).leased(0, [[1, b]], versions(null)) // 5, 6
  fed.numbered(0, [[1, b]])
  const alone = new FedConsumer('alone')
    .subscribed()
    .started()
    .leased(0, [[0, a]], versions(3))
  await appendTold(log, [...fed.told, ...alone.told])
  await append(log, (story) => {
    story.event(modelPublished, published({ model_id: 'm5', version: 5, lineage: 'child' }, { time: timeOf(4) }))
    story.event(modelPublished, published({ model_id: 'm9', version: 9, lineage: 'other' }, { time: timeOf(1) }))
    const encoder = published({ model_id: 'e8', version: 8, lineage: 'child', role: 'encoder' }, { time: timeOf(1) })
    story.event(modelPublished, encoder)
  })
  await load()
  expect(await ask('FROM staleness ORDER BY ALL NULLS LAST')).toEqual([
    { consumer: 'alone', run: 'r1', staleness: null, groups: '1', without_version: '0' },
    { consumer: 'lab', run: 'r1', staleness: '1', groups: '1', without_version: '0' },
    { consumer: 'lab', run: 'r1', staleness: '2', groups: '2', without_version: '0' },
    { consumer: 'lab', run: 'r1', staleness: null, groups: '1', without_version: '1' },
  ])
})
