import { expect, test } from 'vitest'
import { modelPublished } from '../../schemas/events/model.ts'
import { append, type Story } from '../../testing/duckdb/recorded-tower.ts'
import { appendTold, FedConsumer } from '../../testing/duckdb/recorded-training.ts'
import { formedIn, tables } from '../../testing/duckdb/training-tables.ts'
import { published } from '../../testing/published-model.ts'
import type { Row } from '../ask-rows.ts'
import { leakageOf } from './leakage.ts'
import { weightsNamed } from './named-weights.ts'

/** The leaks of a model that was trained on `g`, and by its publisher's word on `told` and a data set. */
async function leakage(ask_eval: (story: Story) => void) {
  const { log, ask, load } = await tables()
  const [place] = await formedIn(log, 'g')
  if (place === undefined) throw new Error('expected a group')
  const group = [[0, place]] as const
  const fed = new FedConsumer('lab').subscribed().started().leased(0, group).begun(0, 1, group)
  await appendTold(log, fed.applied(0, 1, group).completed(0, 1).told)
  await append(log, (story) => {
    const trained_at = { consumer: 'lab', run: 'r1', epoch: 1, step: 1 }
    story.event(modelPublished, published({ model_id: 'base', version: 0, trained_on: ['told', 'clevr'] }))
    story.event(modelPublished, published({ model_id: 'm', version: 1, parent: 'base', trained_at }))
    story.requested('g', 2, 'a', { ...OWN, start_id: 's-g' })
    story.requested('told', 2, 'b', { ...OWN, start_id: 's-told', prompt: prompt('p-told') })
    ask_eval(story)
  })
  await load()
  const asking = async function* (sql: string) {
    yield* (await ask(sql)) as Row[]
  }
  return leakageOf(asking, await weightsNamed(asking, 'm'))
}
const prompt = (sha256: string) => ({ text: 'How far?', sha256, variant: 'plain' as const })
const OWN = { images: [], prompt: prompt('p-g') }

test('a request of evaluation about another start, in other words and pictures, is no leak; what was compared is counted', async () => {
  const found = await leakage((story) =>
    story.requested('e', 2, 'c', { ...OWN, prompt: prompt('p-e'), purpose: 'eval' }),
  )
  expect(found).toEqual({
    ...{ name: 'm', clean: true, trained_groups: 3, trained_with_request: 2, eval_groups: 1 },
    ...{ not_compared: ['clevr'], leaks: [], leaks_in_all: 0 },
  })
})

test('the same start is found under another id, also of what a parent was trained on', async () => {
  const found = await leakage((story) => {
    for (const id of ['g', 'told']) {
      story.requested(`e-${id}`, 2, 'c', { ...OWN, start_id: `s-${id}`, prompt: prompt('p-e'), purpose: 'eval' })
    }
  })
  expect(found.clean).toBe(false)
  expect(
    found.leaks.map(({ by, shared, trained_example, eval_example }) => [by, shared, trained_example, eval_example]),
  ).toEqual([
    ['start', 'tower s-g', 'g', 'e-g'],
    ['start', 'tower s-told', 'told', 'e-told'],
  ])
})

test('the same prompt about the same content is found where the start has another id; a probe is no evaluation', async () => {
  const found = await leakage((story) => {
    story.requested('e-content', 2, 'c', { ...OWN, purpose: 'eval' })
    story.requested('e-probe', 2, 'c', { ...OWN, start_id: 's-g', purpose: 'probe' })
  })
  expect(found.leaks.map(({ by, eval_example }) => [by, eval_example])).toEqual([['content', 'e-content']])
})
