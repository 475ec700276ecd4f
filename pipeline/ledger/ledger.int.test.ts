import { expect, test } from 'vitest'
import { modelPublished } from '../../schemas/events/model.ts'
import { append } from '../../testing/duckdb/recorded-tower.ts'
import { appendTold, FedConsumer, FormedGroups, type Place } from '../../testing/duckdb/recorded-training.ts'
import { tables } from '../../testing/duckdb/training-tables.ts'
import { published } from '../../testing/published-model.ts'
import type { Ask, Row } from '../ask-rows.ts'
import { diffText } from './diff-text.ts'
import { weightsText } from './ledger-text.ts'
import { epochsOf, weightsNamed } from './named-weights.ts'
import { diffOf, type Kind } from './run-diff.ts'
import { type LedgerStep, stepsOf } from './steps-of.ts'

type Numbered = readonly [sequence: number, Place]
type Models = readonly Parameters<typeof published>[0][]

const places = new FormedGroups()
const GROUPS = Array.from({ length: 6 }, (_, at) => [at, places.place(`g${at}`)] as const)
const [a, b, c, d, e] = GROUPS as unknown as [Numbered, Numbered, Numbered, Numbered, Numbered]

const step = (fed: FedConsumer, number: number, ...of: readonly Numbered[]) =>
  fed.leased(0, of).begun(0, number, of).applied(0, number, of).completed(0, number)
const lab = (consumer = 'lab') => new FedConsumer(consumer).subscribed().started()
const at = (consumer: string, run: string, epoch: number, number: number) => {
  return { trained_at: { consumer, run, epoch, step: number } }
}

/** Tables with what these consumers did, and these models. */
async function loaded(consumers: readonly FedConsumer[], models: Models = []): Promise<Ask> {
  const { log, ask, load } = await tables()
  for (const { told } of consumers) await appendTold(log, told)
  if (models.length > 0) {
    await append(log, (story) => {
      for (const model of models) story.event(modelPublished, published(model))
    })
  }
  await load()
  return async function* (sql) {
    yield* (await ask(sql)) as Row[]
  }
}

async function allSteps(ask: Ask, name: string): Promise<LedgerStep[]> {
  const steps: LedgerStep[] = []
  for await (const step of stepsOf(ask, await weightsNamed(ask, name))) steps.push(step)
  return steps
}

async function diff(ask: Ask, one: string, other: string, ignore: readonly Kind[] = []) {
  return diffOf(ask, [await weightsNamed(ask, one), await weightsNamed(ask, other)], ignore)
}

test('the ledger of a model tells its epochs, steps and groups, and receipts that are not there', async () => {
  const fed = step(step(lab(), 1, a, b), 2, c).saved('c1', 1, [a, b])
  step(fed.started({ checkpoint: 'c1', step: 1 }), 2, d)
  const ask = await loaded([fed], [{ model_id: 'm', version: 4, ...at('lab', 'r1', 2, 3) }])
  const named = await weightsNamed(ask, 'm')
  const epochs = await epochsOf(ask, named)
  expect(weightsText(named, epochs)).toBe(
    [
      'policy m, version 4 of run-1',
      '  after step 3 of lab/r1 in epoch 2',
      '  epoch 1 of lab/r1: from nothing contained up to step 1',
      '  epoch 2 of lab/r1: from checkpoint c1, step 1, contained up to step 3',
      '    1 of its receipts are not in the tables: the groups of those steps are not listed',
      '',
    ].join('\n'),
  )
  const steps = await allSteps(ask, 'm')
  expect(
    steps.map(({ fate, epoch, step, groups }) => [fate, epoch, step, groups.map(({ group_id }) => group_id)]),
  ).toEqual([
    ['contained', 1, 1, ['g0', 'g1']],
    ['contained', 2, 2, ['g3']],
    ['rolled_back', 1, 2, ['g2']],
  ])
})

test('a run is named as CONSUMER/RUN, and has what its last step contains', async () => {
  const ask = await loaded([step(step(lab(), 1, a), 2, b)])
  expect((await weightsNamed(ask, 'lab/r1')).trained_at).toEqual({ consumer: 'lab', run: 'r1', epoch: 1, step: 2 })
  expect(await allSteps(ask, 'lab/r1')).toHaveLength(2)
})

test('an unknown name is refused with the nearest ones, and a model of which nothing is known with what to do', async () => {
  const ask = await loaded(
    [lab()],
    [
      { model_id: 'policy-1', version: 0, ...at('lab', 'r1', 7, 1) },
      { model_id: 'bought', version: 1 },
    ],
  )
  await expect(weightsNamed(ask, 'polcy-1')).rejects.toMatchObject({
    message: 'polcy-1: no such model, and no such run',
    remedy: 'expected a model or CONSUMER/RUN; the nearest: policy-1, bought, lab/r1',
  })
  await expect(weightsNamed(ask, 'bought')).rejects.toThrow('expected trained_at or a parent, found neither')
  await expect(weightsNamed(ask, 'policy-1')).rejects.toThrow('lab/r1 epoch 7, found no such epoch')
  await expect(weightsNamed(await loaded([]), 'm')).rejects.toMatchObject({
    remedy: expect.stringContaining('no model and no run yet'),
  })
})

test('runs that took the same steps on the same groups are equal', async () => {
  const ask = await loaded([step(step(lab(), 1, a, b), 2, c), step(step(lab('other'), 1, a, b), 2, c)])
  const found = await diff(ask, 'lab/r1', 'other/r1')
  expect(found).toMatchObject({ differs: false, step: null, equal_steps: 2, differences: [] })
  expect(diffText(found)).toBe('lab/r1 and other/r1 are equal: 2 steps\n')
})

test('other groups are named at the first step that has them, with the reason of a drop', async () => {
  const one = step(step(step(lab(), 1, a), 2, b, c), 3, e)
  const other = step(step(lab('other').dropped([[null, c[1]]]), 1, a), 2, b, d)
  const found = await diff(await loaded([one, other]), 'lab/r1', 'other/r1')
  expect(found).toMatchObject({ differs: true, step: 2, equal_steps: 1 })
  expect(found.differences).toEqual([{ kind: 'groups', found: ['also g2', 'also g3; dropped g2 (stale)'] }])
  expect(diffText(found)).toBe(
    [
      'lab/r1 and other/r1 differ at step 2, after 1 step that are equal:',
      '  other groups (groups):',
      '    lab/r1    also g2',
      '    other/r1  also g3; dropped g2 (stale)',
      '',
    ].join('\n'),
  )
})

test.each<[string, () => [FedConsumer, FedConsumer], Models, number | null, Kind[]]>([
  ['the same groups in another order', () => [step(lab(), 1, a, b), step(lab('other'), 1, b, a)], [], 1, ['order']],
  ['other numbers', () => [step(lab(), 1, a), step(lab('other'), 1, [7, a[1]])], [], 1, ['sequence']],
  [
    'another number of ranks',
    () => [step(lab(), 1, a), step(new FedConsumer('other').subscribed().started({ world_size: 2 }), 1, a)],
    [],
    1,
    ['world_size'],
  ],
  ['an earlier end', () => [step(step(lab(), 1, a), 2, b), step(lab('other'), 1, a)], [], 2, ['end']],
  [
    'a resume, with the same groups again',
    () => {
      const resumed = step(step(lab('other'), 1, a).saved('c1', 1, [a]), 2, b)
      step(resumed.started({ checkpoint: 'c1', step: 1 }).rolledBack('c1', 'applied', [b]), 2, b)
      return [step(step(lab(), 1, a), 2, b), resumed]
    },
    [],
    2,
    ['roll_backs'],
  ],
  [
    'another published version',
    () => [step(step(lab(), 1, a), 2, b), step(step(lab('other'), 1, a), 2, b)],
    [{ model_id: 'm1', version: 1, ...at('lab', 'r1', 1, 1) }],
    2,
    ['policy_version'],
  ],
  [
    'another parent',
    () => [step(lab(), 1, a), step(lab('other'), 1, a)],
    [{ model_id: 'm1', version: 1, parent: 'elsewhere', ...at('lab', 'r1', 1, 1) }],
    0,
    ['base'],
  ],
  [
    'a drop that changed no step',
    () => [step(lab(), 1, a), step(lab('other'), 1, a).dropped([[null, e[1]]])],
    [],
    null,
    ['drops'],
  ],
])('a difference is found: %s', async (_name, consumers, models, at_step, kinds) => {
  const ask = await loaded(consumers(), models)
  const found = await diff(ask, 'lab/r1', 'other/r1')
  expect(found).toMatchObject({ differs: true, step: at_step })
  expect(found.differences.map(({ kind }) => kind)).toEqual(kinds)
  expect((await diff(ask, 'lab/r1', 'lab/r1')).differs).toBe(false)
})

test('what is to be ignored is no difference', async () => {
  const ask = await loaded([step(lab(), 1, a), step(lab('other'), 1, [7, a[1]]).dropped([[null, e[1]]])])
  expect((await diff(ask, 'lab/r1', 'other/r1', ['sequence'])).differences.map(({ kind }) => kind)).toEqual(['drops'])
  expect((await diff(ask, 'lab/r1', 'other/r1', ['sequence', 'drops'])).differs).toBe(false)
})
