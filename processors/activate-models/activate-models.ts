import { z } from 'zod'
import type { RowOfEvent } from '../../schemas/declare/event.ts'
import { modelActivated, modelPublished, modelRefused } from '../../schemas/events/model.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import { modelFiles } from '../model-files.ts'
import { type Answer, type CallContext, type Effect, isA, ModelUnsoundError } from '../processor.ts'
import { AdapterRefusedError, adapterName, loadAdapter, unloadAdapters, warmAdapter } from './adapter-server.ts'
import { type Activated, lastActivated } from './last-activated.ts'

export interface ActivateOptions {
  /** Of a server with OpenAI's protocol, without a trailing slash. */
  readonly url: string
  readonly lineage: string
  /** A server has this version, and so many before it. */
  readonly max_staleness: number
}

const NAME = 'activate-models'
const plan = z.object({
  model_id: z.string(),
  lineage: z.string(),
  version: z.int(),
  files: modelFiles,
  base: z.string().nullable(),
})
type ToActivate = z.infer<typeof plan>

/** A model is loaded whenever its server is there. In years. Inferred. */
const DEADLINE_YEARS = 10

/**
 * Makes a server answer with each published adapter of a lineage: fetched, checked, loaded under a name that has its hash,
 * and asked once; then `model.activated` announces it. An adapter that cannot be used is refused, and the one before
 * stays.
 */
export function activateModels(options: ActivateOptions): Effect<ToActivate, readonly Activated[]> {
  const { url, lineage } = options
  return {
    shape: 'effect',
    name: NAME,
    version: 1,
    about: `${url} loads the adapters of ${lineage}`,
    variant: ['lora', lineage],
    produces: 'facts',
    inputs: [modelPublished],
    outputs: [modelActivated, modelRefused],
    broadcast: lastActivated(lineage),
    state: { version: 1, schema: plan },
    plan(event) {
      if (!isA(event, modelPublished) || event.data.role !== 'policy' || event.data.lineage !== lineage)
        return undefined
      const { model_id, version, files, base } = event.data
      const due = new Date(event.time)
      due.setUTCFullYear(due.getUTCFullYear() + DEADLINE_YEARS)
      return {
        attempt_id: sourceId(['activation', lineage, model_id, event.id]),
        wanted: 1,
        request: {
          model_id,
          lineage,
          version,
          files: files.map(({ name, blob }) => ({ name, blob: { ...blob } })),
          base,
        },
        deadline: { clock: 'wall', time: due.toISOString() },
      }
    },
    per_call: () => 1,
    async call({ request }, context) {
      try {
        return [await activated(options, request, context)]
      } catch (error) {
        if (error instanceof ModelUnsoundError || error instanceof AdapterRefusedError) {
          return [refused(request, error.message)]
        }
        throw error
      }
    },
  }
}

async function activated(
  { url, max_staleness }: ActivateOptions,
  model: ToActivate,
  context: CallContext<readonly Activated[]>,
): Promise<Answer> {
  const loaded = max_staleness + 1
  const newer = context.broadcast.filter(({ version }) => version > model.version)
  if (newer.length >= loaded) {
    return refused(model, `version ${newer[0]?.version} was activated before it, and ${loaded} are loaded at once`)
  }
  const name = adapterName(model)
  const { fetch_ms, load_ms } = await loadAdapter(url, model, context)
  const warm_ms = await warmAdapter(url, name, context)
  const ranked = [{ version: model.version, name }, ...context.broadcast].sort((a, b) => b.version - a.version)
  const kept = new Set(ranked.slice(0, loaded).map((one) => one.name))
  const old = new Set(ranked.map((one) => one.name).filter((one) => !kept.has(one)))
  // The oldest first.
  await unloadAdapters(url, [...old].reverse(), context)
  const { model_id, lineage, version, files, base } = model
  const adapter = files.find((file) => file.name === 'adapter_model.safetensors')
  const row = {
    ...{ model_id, lineage, version, server: url, name, adapter_sha256: adapter?.blob.sha256 ?? '' },
    ...{ files, base, fetch_ms, load_ms, warm_ms },
  } satisfies RowOfEvent<typeof modelActivated>
  return { index: 0, row, type: modelActivated.type }
}

function refused({ model_id, lineage, version }: ToActivate, reason: string): Answer {
  const row = { model_id, role: 'policy', version, lineage, processor: NAME, reason } satisfies RowOfEvent<
    typeof modelRefused
  >
  return { index: 0, row, type: modelRefused.type }
}
