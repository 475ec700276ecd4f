import { expect, test } from 'vitest'
import type { MemoryLog } from '../../../infra/log/memory/memory-log.ts'
import { modelPublished } from '../../../schemas/events/model.ts'
import { append } from '../../../testing/duckdb/recorded-tower.ts'
import { appendTold, FedConsumer, FormedGroups, type Place } from '../../../testing/duckdb/recorded-training.ts'
import { tables } from '../../../testing/duckdb/training-tables.ts'
import { published } from '../../../testing/published-model.ts'

type Numbered = readonly [sequence: number, Place]

/** Groups by number, as if they had been formed. */
function groups(count: number): Numbered[] {
  const places = new FormedGroups()
  return Array.from({ length: count }, (_, sequence) => [sequence, places.place(`g${sequence}`)] as const)
}

/** A step of rank 0 with its receipt. */
const step = (fed: FedConsumer, number: number, ...of: readonly Numbered[]) =>
  fed.leased(0, of).begun(0, number, of).applied(0, number, of).completed(0, number)

const publish = (log: MemoryLog, ...models: readonly Parameters<typeof published>[0][]) =>
  append(log, (story) => {
    for (const model of models) story.event(modelPublished, published(model))
  })

const at = (consumer: string, run: string, epoch: number, number: number) => {
  return { trained_at: { consumer, run, epoch, step: number } }
}

const ROWS = `
  SELECT model_id, fate, coalesce(parent, 'own') AS via, run || ' ' || epoch || '/' || step AS step,
    list(group_id ORDER BY sequence) AS groups
  FROM model_groups GROUP BY ALL ORDER BY ALL`

test('a model contains the groups of its epoch up to its step, and of the checkpoints that led to the epoch', async () => {
  const { log, ask, load } = await tables()
  const [a, b, c, d, e] = groups(5) as [Numbered, Numbered, Numbered, Numbered, Numbered]
  const fed = new FedConsumer('lab').subscribed().started()
  step(step(fed, 1, a), 2, b).saved('c2', 2, [a, b])
  step(fed, 3, c).saved('c3', 3, [c])
  fed.started({ checkpoint: 'c2', step: 2 }).rolledBack('c2', 'durable', [c])
  step(step(fed, 3, d, c), 4, e)
  await appendTold(log, fed.told)
  const models = [
    ['early', at('lab', 'r1', 1, 1)],
    ['lost', at('lab', 'r1', 1, 3)],
    ['resumed', at('lab', 'r1', 2, 2)],
    ['late', at('lab', 'r1', 2, 3)],
  ] as const
  await publish(log, ...models.map(([model_id, trained], version) => ({ model_id, version, ...trained })))
  await load()
  const row = (model_id: string, fate: string, number: string, ...groups: string[]) => {
    return { model_id, fate, via: 'own', step: `r1 ${number}`, groups }
  }
  expect(await ask(ROWS)).toEqual([
    row('early', 'contained', '1/1', 'g0'),
    row('late', 'contained', '1/1', 'g0'),
    row('late', 'contained', '1/2', 'g1'),
    row('late', 'contained', '2/3', 'g2', 'g3'),
    row('late', 'rolled_back', '1/3', 'g2'),
    row('lost', 'contained', '1/1', 'g0'),
    row('lost', 'contained', '1/2', 'g1'),
    row('lost', 'contained', '1/3', 'g2'),
    row('resumed', 'contained', '1/1', 'g0'),
    row('resumed', 'contained', '1/2', 'g1'),
    row('resumed', 'rolled_back', '1/3', 'g2'),
  ])
})

test('an epoch that resumed from nothing rolls back all that its run had applied before', async () => {
  const { log, ask, load } = await tables()
  const [a, b] = groups(2) as [Numbered, Numbered]
  const fed = step(new FedConsumer('lab').subscribed().started(), 1, a)
  step(fed.started().rolledBack(null, 'applied', [a]), 1, b)
  await appendTold(log, fed.told)
  await publish(log, { model_id: 'm', version: 0, ...at('lab', 'r1', 2, 1) })
  await load()
  expect(await ask("SELECT fate, epoch, group_id FROM model_groups WHERE model_id = 'm' ORDER BY ALL")).toEqual([
    { fate: 'contained', epoch: '2', group_id: 'g1' },
    { fate: 'rolled_back', epoch: '1', group_id: 'g0' },
  ])
})

test('a model contains the groups of its parents, through runs, resumes and models that no consumer made', async () => {
  const { log, ask, load } = await tables()
  const [a, b, c, d, e] = groups(5) as [Numbered, Numbered, Numbered, Numbered, Numbered]
  const base = step(new FedConsumer('base').subscribed().started({ run: 'b1' }), 1, a)
  const lab = new FedConsumer('lab').subscribed().started({ run: 'r1' })
  step(lab, 1, b).saved('c1', 1, [b])
  step(lab.started({ checkpoint: 'c1', step: 1 }), 2, c)
  step(lab.started({ run: 'r2' }), 1, d)
  step(step(lab, 2, e), 3, a)
  await appendTold(log, [...base.told, ...lab.told])
  await publish(
    log,
    { model_id: 'base', version: 0, ...at('base', 'b1', 1, 1) },
    { model_id: 'merged', version: 0, parent: 'base' },
    { model_id: 'first', version: 1, parent: 'merged', ...at('lab', 'r1', 1, 1) },
    // Of the same run: what it has of `first`, its checkpoint says.
    { model_id: 'second', version: 2, parent: 'first', ...at('lab', 'r1', 2, 2) },
    { model_id: 'third', version: 0, parent: 'second', ...at('lab', 'r2', 3, 2) },
    { model_id: 'stranger', version: 9, parent: 'nobody' },
  )
  await load()
  const row = (via: string, number: string, ...groups: string[]) => {
    return { model_id: 'third', fate: 'contained', via, step: number, groups }
  }
  const all = await ask(ROWS)
  expect(all.filter(({ model_id }) => model_id === 'third')).toEqual([
    row('base', 'b1 1/1', 'g0'),
    row('own', 'r2 3/1', 'g3'),
    row('own', 'r2 3/2', 'g4'),
    row('second', 'r1 1/1', 'g1'),
    row('second', 'r1 2/2', 'g2'),
  ])
  expect(all.filter(({ model_id }) => model_id === 'merged')).toEqual([
    { model_id: 'merged', fate: 'contained', via: 'base', step: 'b1 1/1', groups: ['g0'] },
  ])
  expect(all.filter(({ model_id }) => model_id === 'stranger')).toEqual([])
})

test('models that name each other as parents end, each with the groups of both', async () => {
  const { log, ask, load } = await tables()
  const [a, b] = groups(2) as [Numbered, Numbered]
  const fed = step(new FedConsumer('lab').subscribed().started(), 1, a)
  step(fed.started({ run: 'r2' }), 1, b)
  await appendTold(log, fed.told)
  await publish(
    log,
    { model_id: 'one', version: 0, parent: 'two', ...at('lab', 'r1', 1, 1) },
    { model_id: 'two', version: 0, parent: 'one', ...at('lab', 'r2', 2, 1) },
  )
  await load()
  expect(await ask('SELECT model_id, parent, group_id FROM model_groups ORDER BY ALL')).toEqual([
    { model_id: 'one', parent: 'two', group_id: 'g1' },
    { model_id: 'one', parent: null, group_id: 'g0' },
    { model_id: 'two', parent: 'one', group_id: 'g0' },
    { model_id: 'two', parent: null, group_id: 'g1' },
  ])
})
