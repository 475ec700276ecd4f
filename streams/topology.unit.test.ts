import { expect, test } from 'vitest'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import { inputTopics, type Processor, type Stage } from '../processors/processor.ts'
import { towerPolicies } from '../processors/sample-completions/tower-policies.ts'
import { defineEvent } from '../schemas/declare/event.ts'
import { utf8 } from '../schemas/declare/logical-types.ts'
import { modelPublished } from '../schemas/events/model.ts'
import { defineOrigin, scoredFields } from '../schemas/events/origin.ts'
import { groupFormed, rolloutRequested } from '../schemas/events/rollout.ts'
import { towerScene } from '../schemas/events/tower.ts'
import { towerOrigin } from '../schemas/events/tower-origin.ts'
import { groups } from '../sinks/duckdb/views/groups.ts'
import { asText, processorsOf } from './describe.ts'
import { type Domain, stage } from './domain.ts'
import { rollouts } from './rollouts.ts'
import { DEFAULTS, DOMAINS, eventsOf, topology } from './topology.ts'
import { catalogue, views, vocabulary } from './vocabulary.ts'

const empty: Domain = { name: 'other', about: '', events: [], sources: [], stages: async () => [], views: () => [] }
const fact = (type: string) =>
  defineEvent({
    type,
    version: 1,
    key: 'id',
    encoding: 'json',
    retention: 'source',
    about: '',
    row: { id: utf8() },
  })
function broadcasting(broadcast: object, inputs: Processor['inputs'] = []): Stage {
  const processor = { shape: 'transform', name: 'mine', variant: [], inputs, outputs: [], broadcast } as unknown
  return { name: 'mine', variant: [], create: () => processor as Processor }
}
const composed = (other: Partial<Domain>) => topology(DEFAULTS, [...DOMAINS, { ...empty, ...other }])

test('the vocabulary of every command is that of the topology', async () => {
  const wiring = await topology(DEFAULTS)
  expect(catalogue).toEqual(wiring.events)
  // As text: `kept` has functions, made for each.
  expect(JSON.stringify(views)).toBe(JSON.stringify(wiring.views))
  for (const event of wiring.events) expect(vocabulary.get(event.type)).toBe(event)
})

test('domains share an event by listing the same declaration', async () => {
  const { events } = await composed({ events: [groupFormed] })
  expect(events.filter(({ type }) => type === groupFormed.type)).toEqual([groupFormed])
  expect(events.map(({ type }) => type)).toEqual(eventsOf(DOMAINS).map(({ type }) => type))
})

test('the stages of each domain are distinguished', async () => {
  const { stages } = await topology(DEFAULTS, DOMAINS)
  const [first] = stages
  const renamed = stages.slice(0, 1).map((stage) => ({ ...stage, name: 'mine' }))
  const { domains } = await composed({ events: eventsOf(DOMAINS), stages: async () => renamed })
  expect(domains.map(({ name }) => name)).toEqual([...DOMAINS.map(({ name }) => name), 'other'])
  expect(domains.find(({ name }) => name === 'rollouts')?.stages).toContain(first?.name)
  expect(domains.find(({ name }) => name === 'tower')?.stages).toContain('score-completions')
  expect(domains.at(-1)?.stages).toEqual(['mine'])
})

test('events of several domains are in the order of each of them, and stages in the order of the events', async () => {
  const { events } = await composed({ events: [fact('mine.begun'), rolloutRequested, fact('mine.seen'), groupFormed] })
  const types = events.map(({ type }) => type)
  for (const domain of DOMAINS) {
    const listed = domain.events.map(({ type }) => type)
    expect(types.filter((type) => listed.includes(type))).toEqual(listed)
  }
  const flow = ['mine.begun', 'rollout.requested', 'mine.seen', 'rollout.group_formed']
  expect(types.filter((type) => flow.includes(type))).toEqual(flow)
  const stages = (await topology(DEFAULTS)).stages.map(({ name }) => name)
  const order = ['sample-completions', 'score-completions', 'form-groups']
  expect(stages.filter((name) => order.includes(name))).toEqual(order)
})

test('without towers, rollouts form the groups of another origin, and no view reads what is of towers', async () => {
  const scored = defineEvent({
    type: 'elsewhere.completions_scored',
    version: 1,
    key: 'group_id',
    encoding: 'arrow',
    retention: 'derived',
    about: '',
    row: scoredFields,
  })
  const origin = defineOrigin({ name: 'elsewhere', tasks: ['any'], start: towerScene, scored, scored_by: 'score' })
  const elsewhere = { ...empty, events: [scored], origins: [origin], builds_on: ['rollouts'] }
  await expect(topology(DEFAULTS, [rollouts, elsewhere])).rejects.toThrow(
    'origin elsewhere: expected a processor score that emits elsewhere.completions_scored, found none',
  )
  const score = { ...formGroups({ dialect: 'paper', scored: [] }), name: 'score', outputs: [scored] }
  const scoring = { ...elsewhere, stages: async () => [stage(score, () => score)] }
  const { stages, views, events } = await topology(DEFAULTS, [rollouts, scoring])
  const forming = stages.find(({ name }) => name === 'form-groups')
  expect(forming?.create(forming.variant).inputs).toContain(scored)
  expect(views.map(({ name }) => name)).toEqual(expect.arrayContaining(['advantages', 'rewards']))
  expect(views.filter(({ sql }) => sql.includes('tower.'))).toEqual([])
  expect(events.filter(({ type }) => type.startsWith('tower.'))).toEqual([])
})

test.each<[string, Partial<Domain>, RegExp]>([
  [
    'two declarations of one event',
    { events: [fact('clock.ticked')] },
    /^event clock.ticked: expected one declaration/,
  ],
  ['a view of the same name', { views: () => [groups] }, /^view groups: expected one/],
  ['a view that hides the documentation', { views: () => [{ ...groups, name: 'docs' }] }, /^view docs: expected one/],
  ['a domain of the same name', { name: 'tower' }, /^domain tower: expected one/],
  [
    'a domain that builds on one that is not there',
    { builds_on: ['castle'] },
    /^domain other: expected castle, on which it builds, next to it; there are rollouts, tower, /,
  ],
  [
    'a source of the same name',
    { sources: [{ name: 'clock', ce_sources: ['/mine'], outputs: [] }] },
    /^source clock: expected one/,
  ],
  [
    'an event that no domain lists',
    { sources: [{ name: 'mine', ce_sources: ['/mine'], outputs: [fact('mine.seen')] }] },
    /^mine: expected a domain that lists its event mine.seen, found none that does$/,
  ],
  [
    'another declaration of a listed event',
    { commands: [{ name: 'mine', ce_sources: ['/mine'], outputs: [fact('rollout.requested')] }] },
    /^mine: .*rollout.requested, found another declaration of it$/,
  ],
  [
    'a broadcast state of an event that has copies in some partitions only',
    { events: eventsOf(DOMAINS), stages: async () => [broadcasting({ inputs: [groupFormed] })] },
    /^mine: the event rollout.group_formed of its broadcast state: expected one that is routed to every partition$/,
  ],
  [
    'a broadcast state of an event that is an input too',
    { events: eventsOf(DOMAINS), stages: async () => [broadcasting({ inputs: [modelPublished] }, [modelPublished])] },
    /^mine: the event model.published of its broadcast state: expected one that is not among its inputs too$/,
  ],
  [
    'scripted policies of an origin that is not there',
    { scripted: async () => [{ ...towerPolicies, origin: { ...towerOrigin, name: 'castle' } }] },
    /^scripted policies of castle: expected an origin of these domains; there are tower/,
  ],
  [
    'scripted policies of an origin that has others',
    { scripted: async () => [towerPolicies] },
    /^scripted policies of tower: expected one/,
  ],
  ['a stage of the same name', { stages: DOMAINS[0]?.stages ?? empty.stages }, /^stage sample-completions: expected/],
])('%s is refused', async (_what, other, message) => {
  await expect(composed(other)).rejects.toThrow(message)
})

test('a policy of a lineage has a stage that makes its server load the adapters', async () => {
  const policy = 'openai(http://127.0.0.1:8000/v1, lineage:run-1)'
  const wiring = await topology({ ...DEFAULTS, policy })
  const lines = asText(wiring).split('\n')
  const at = lines.findIndex((line) => line.includes('activate-models'))
  expect(lines.slice(at, at + 6)).toEqual([
    'effect    activate-models: http://127.0.0.1:8000/v1 loads the adapters of run-1',
    '            ← model.published',
    '            ← model.activated',
    '            ← clock.ticked',
    '            → model.activated',
    '            → model.refused',
  ])
  const sampling = processorsOf(wiring).find(({ name }) => name === 'sample-completions')
  expect(inputTopics(sampling as Processor)).toContain('model.activated')
  expect(processorsOf(await topology(DEFAULTS)).map(({ name }) => name)).not.toContain('activate-models')
})
